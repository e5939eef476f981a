# Routing: arithmetic on the table of servers (libfs_route), and what the processes of a host share:
# the table itself and the store of visitors (libfs_route_shared).
noinst_LTLIBRARIES += lib/route/libfs_route.la lib/route/libfs_route_shared.la
lib_route_libfs_route_la_SOURCES = lib/route/fs_route.c lib/route/fs_route.h
lib_route_libfs_route_shared_la_SOURCES = \
	lib/route/fs_route_page.c lib/route/fs_route_page.h lib/route/fs_route_page_internal.h \
	lib/route/fs_route_page_view.c lib/route/fs_route_page_count.c \
	lib/route/fs_route_store.c lib/route/fs_route_store.h lib/route/fs_route_store_internal.h \
	lib/route/fs_route_store_slot.c lib/route/fs_route_store_change.c \
	lib/route/fs_route_store_tell.c lib/route/fs_route_store_prepare.c
lib_route_libfs_route_shared_la_CPPFLAGS = $(AM_CPPFLAGS) $(CRYPTO_CFLAGS) $(LMDB_CFLAGS) \
	$(XXHASH_CFLAGS)
# Whoever links it has libfs_control and libfs_base anyway.
lib_route_libfs_route_shared_la_LIBADD = lib/route/libfs_route.la lib/base/libfs_lmdb.la $(LMDB_LIBS) $(CRYPTO_LIBS) $(APR_LIBS)

# What servers tell each other of their visitors; the agent's.
noinst_LTLIBRARIES += lib/route/libfs_route_share.la
lib_route_libfs_route_share_la_SOURCES = \
	lib/route/fs_route_delta.c lib/route/fs_route_delta.h \
	lib/route/fs_route_share.c lib/route/fs_route_share.h lib/route/fs_route_share_internal.h \
	lib/route/fs_route_share_copy.c lib/route/fs_route_share_tell.c

bin_PROGRAMS += datasrv/farmsync-sim
datasrv_farmsync_sim_SOURCES = datasrv/sim.c datasrv/sim_farm.c datasrv/sim_farm.h
datasrv_farmsync_sim_LDADD = lib/route/libfs_route.la lib/base/libfs_base.la -lm

# What visitors and servers carry: signed.
noinst_LTLIBRARIES += lib/route/libfs_route_signed.la
lib_route_libfs_route_signed_la_SOURCES = \
	lib/route/fs_route_keys.c lib/route/fs_route_keys.h \
	lib/route/fs_route_cookie.c lib/route/fs_route_cookie.h \
	lib/route/fs_route_token.c lib/route/fs_route_token.h
lib_route_libfs_route_signed_la_CPPFLAGS = $(AM_CPPFLAGS) $(CRYPTO_CFLAGS)
lib_route_libfs_route_signed_la_LIBADD = $(CRYPTO_LIBS)
