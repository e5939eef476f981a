check_PROGRAMS += tests/unit/test_avail tests/unit/test_avail_page
TESTS += tests/unit/test_avail tests/unit/test_avail_page
tests_unit_test_avail_SOURCES = tests/unit/test_avail.c tests/unit/fs_test.h
tests_unit_test_avail_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_test_avail_LDADD = lib/avail/libfs_notice.la lib/avail/libfs_avail.la \
	lib/control/libfs_control.la lib/base/libfs_base.la $(CHECK_LIBS)

tests_unit_test_avail_page_SOURCES = tests/unit/test_avail_page.c tests/unit/fs_test.h
tests_unit_test_avail_page_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_test_avail_page_LDADD = lib/avail/libfs_avail.la \
	lib/control/libfs_control.la lib/base/libfs_base.la $(CHECK_LIBS)
