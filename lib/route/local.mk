# Routing: arithmetic on the table of servers.
noinst_LTLIBRARIES += lib/route/libfs_route.la
lib_route_libfs_route_la_SOURCES = lib/route/fs_route.c lib/route/fs_route.h
lib_route_libfs_route_la_LIBADD = lib/base/libfs_base.la

bin_PROGRAMS += datasrv/farmsync-sim
datasrv_farmsync_sim_SOURCES = datasrv/sim.c datasrv/sim_farm.c datasrv/sim_farm.h
datasrv_farmsync_sim_LDADD = lib/route/libfs_route.la -lm

# What visitors and servers carry: signed.
noinst_LTLIBRARIES += lib/route/libfs_route_signed.la
lib_route_libfs_route_signed_la_SOURCES = \
	lib/route/fs_route_keys.c lib/route/fs_route_keys.h \
	lib/route/fs_route_cookie.c lib/route/fs_route_cookie.h \
	lib/route/fs_route_token.c lib/route/fs_route_token.h
lib_route_libfs_route_signed_la_CPPFLAGS = $(AM_CPPFLAGS) $(CRYPTO_CFLAGS)
lib_route_libfs_route_signed_la_LIBADD = lib/base/libfs_base.la $(CRYPTO_LIBS)
