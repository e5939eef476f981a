# Reuse: check values, and differences against what a client holds.
noinst_LTLIBRARIES += lib/reuse/libfs_reuse.la
lib_reuse_libfs_reuse_la_SOURCES = \
	lib/reuse/fs_reuse_tag.c lib/reuse/fs_reuse_tag.h \
	lib/reuse/fs_reuse_dictionary.c lib/reuse/fs_reuse_dictionary.h \
	lib/reuse/fs_reuse_file.c lib/reuse/fs_reuse_file.h \
	lib/reuse/fs_reuse_mirror.c lib/reuse/fs_reuse_mirror.h \
	lib/reuse/fs_reuse_mirrors.c lib/reuse/fs_reuse_mirrors.h lib/reuse/fs_reuse_carry.c \
	lib/reuse/fs_reuse_names.c lib/reuse/fs_reuse_names.h \
	lib/reuse/fs_reuse_pages.c lib/reuse/fs_reuse_pages.h \
	lib/reuse/fs_reuse_store.c lib/reuse/fs_reuse_store.h \
	lib/reuse/fs_reuse_sum.c lib/reuse/fs_reuse_sum.h
lib_reuse_libfs_reuse_la_CPPFLAGS = $(AM_CPPFLAGS) $(CRYPTO_CFLAGS) $(ZSTD_CFLAGS) $(XXHASH_CFLAGS)
lib_reuse_libfs_reuse_la_LIBADD = $(CRYPTO_LIBS) $(ZSTD_LIBS) \
	$(XXHASH_LIBS) $(APR_LIBS)
