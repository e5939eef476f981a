# The replicated map and its exchange: pure, without clock, network or threads.
noinst_LTLIBRARIES += lib/backplane/libfs_backplane.la
lib_backplane_libfs_backplane_la_SOURCES = \
	lib/backplane/fs_backplane.h lib/backplane/fs_map_internal.h lib/backplane/fs_bytes.h \
	lib/backplane/fs_hlc.c lib/backplane/fs_record.c lib/backplane/fs_heap.c \
	lib/backplane/fs_map.c lib/backplane/fs_map_read.c \
	lib/backplane/fs_message.c lib/backplane/fs_message.h lib/backplane/fs_replay.h \
	lib/backplane/fs_exchange.c lib/backplane/fs_exchange.h \
	lib/backplane/fs_exchange_internal.h lib/backplane/fs_exchange_send.c \
	lib/backplane/fs_exchange_serve.c lib/backplane/fs_exchange_take.c \
	lib/backplane/fs_exchange_intake.c lib/backplane/fs_exchange_compare.c \
	lib/backplane/fs_exchange_save.c
lib_backplane_libfs_backplane_la_CPPFLAGS = $(AM_CPPFLAGS) $(XXHASH_CFLAGS)
lib_backplane_libfs_backplane_la_LIBADD = lib/base/libfs_base.la $(XXHASH_LIBS) $(CRYPTO_LIBS)
