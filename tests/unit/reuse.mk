check_PROGRAMS += tests/unit/test_reuse
TESTS += tests/unit/test_reuse
tests_unit_test_reuse_SOURCES = tests/unit/test_reuse.c tests/unit/fs_test.h
tests_unit_test_reuse_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS) $(ZSTD_CFLAGS)
tests_unit_test_reuse_LDADD = lib/reuse/libfs_reuse.la lib/base/libfs_base.la $(CHECK_LIBS)
