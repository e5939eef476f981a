check_PROGRAMS += tests/unit/test_image
TESTS += tests/unit/test_image
tests_unit_test_image_SOURCES = tests/unit/test_image.c tests/unit/fs_image_fixture.h \
	tests/unit/fs_test.h
tests_unit_test_image_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS) $(XXHASH_CFLAGS)
tests_unit_test_image_LDADD = lib/image/libfs_image.la lib/base/libfs_base.la $(CHECK_LIBS)

check_PROGRAMS += tests/unit/test_image_delta
TESTS += tests/unit/test_image_delta
tests_unit_test_image_delta_SOURCES = tests/unit/test_image_delta.c tests/unit/fs_image_fixture.h \
	tests/unit/fs_test.h
tests_unit_test_image_delta_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS) $(XXHASH_CFLAGS) $(ZSTD_CFLAGS)
tests_unit_test_image_delta_LDADD = lib/image/libfs_delta.la lib/image/libfs_image.la \
	lib/base/libfs_base.la $(ZSTD_LIBS) $(CHECK_LIBS)

check_PROGRAMS += tests/unit/test_image_limits
TESTS += tests/unit/test_image_limits
tests_unit_test_image_limits_SOURCES = tests/unit/test_image_limits.c tests/unit/fs_image_fixture.h \
	tests/unit/fs_test.h
tests_unit_test_image_limits_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS) $(XXHASH_CFLAGS)
tests_unit_test_image_limits_LDADD = lib/image/libfs_image.la lib/base/libfs_base.la $(CHECK_LIBS)
