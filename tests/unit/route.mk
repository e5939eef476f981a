check_PROGRAMS += tests/unit/test_route
TESTS += tests/unit/test_route
tests_unit_test_route_SOURCES = tests/unit/test_route.c tests/unit/fs_test.h \
	datasrv/sim_farm.c datasrv/sim_farm.h
tests_unit_test_route_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir) $(CHECK_CFLAGS)
tests_unit_test_route_LDADD = lib/route/libfs_route.la lib/base/libfs_base.la $(CHECK_LIBS)

check_PROGRAMS += tests/unit/test_route_page tests/unit/test_route_store
TESTS += tests/unit/test_route_page tests/unit/test_route_store
tests_unit_test_route_page_SOURCES = tests/unit/test_route_page.c tests/unit/fs_test.h
tests_unit_test_route_page_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_test_route_page_LDADD = lib/route/libfs_route_shared.la \
	lib/control/libfs_control.la lib/image/libfs_image.la lib/base/libfs_base.la $(CHECK_LIBS)
tests_unit_test_route_store_SOURCES = tests/unit/test_route_store.c tests/unit/fs_test.h
tests_unit_test_route_store_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_test_route_store_LDADD = $(tests_unit_test_route_page_LDADD)

check_PROGRAMS += tests/unit/test_route_share
TESTS += tests/unit/test_route_share
tests_unit_test_route_share_SOURCES = tests/unit/test_route_share.c tests/unit/fs_test.h
tests_unit_test_route_share_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_test_route_share_LDADD = lib/route/libfs_route_share.la \
	$(tests_unit_test_route_page_LDADD)
