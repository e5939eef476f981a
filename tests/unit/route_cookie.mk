check_PROGRAMS += tests/unit/test_route_cookie
TESTS += tests/unit/test_route_cookie
tests_unit_test_route_cookie_SOURCES = tests/unit/test_route_cookie.c tests/unit/fs_test.h
tests_unit_test_route_cookie_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_test_route_cookie_LDADD = lib/route/libfs_route_signed.la lib/base/libfs_base.la $(CHECK_LIBS)
