backplane_unit_tests = tests/unit/test_backplane tests/unit/test_backplane_farm
check_PROGRAMS += $(backplane_unit_tests)
TESTS += $(backplane_unit_tests)

tests_unit_test_backplane_SOURCES = tests/unit/test_backplane.c tests/unit/fs_test.h
tests_unit_test_backplane_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_test_backplane_LDADD = lib/backplane/libfs_backplane.la $(CHECK_LIBS)

tests_unit_test_backplane_farm_SOURCES = tests/unit/test_backplane_farm.c \
	tests/unit/fs_test_backplane.h tests/unit/fs_test.h
tests_unit_test_backplane_farm_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_test_backplane_farm_LDADD = lib/backplane/libfs_backplane.la $(CHECK_LIBS)
