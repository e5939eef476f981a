check_PROGRAMS += tests/unit/test_control
TESTS += tests/unit/test_control
tests_unit_test_control_SOURCES = tests/unit/test_control.c tests/unit/fs_test.h
tests_unit_test_control_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_test_control_LDADD = lib/control/libfs_control.la lib/base/libfs_base.la $(CHECK_LIBS)
