check_PROGRAMS += tests/unit/test_route
TESTS += tests/unit/test_route
tests_unit_test_route_SOURCES = tests/unit/test_route.c tests/unit/fs_test.h \
	datasrv/sim_farm.c datasrv/sim_farm.h
tests_unit_test_route_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir) $(CHECK_CFLAGS)
tests_unit_test_route_LDADD = lib/route/libfs_route.la $(CHECK_LIBS)
