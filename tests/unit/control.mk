check_PROGRAMS += tests/unit/test_control
TESTS += tests/unit/test_control
tests_unit_test_control_SOURCES = tests/unit/test_control.c tests/unit/fs_test.h
tests_unit_test_control_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_test_control_LDADD = lib/control/libfs_control.la lib/base/libfs_base.la $(CHECK_LIBS)

check_PROGRAMS += tests/unit/test_view_cache
TESTS += tests/unit/test_view_cache
tests_unit_test_view_cache_SOURCES = tests/unit/test_view_cache.c tests/unit/fs_test.h
tests_unit_test_view_cache_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_test_view_cache_LDADD = lib/control/libfs_control.la lib/image/libfs_image.la \
	lib/base/libfs_base.la $(CHECK_LIBS) $(XXHASH_LIBS) $(CRYPTO_LIBS)

check_PROGRAMS += tests/unit/test_text
TESTS += tests/unit/test_text
tests_unit_test_text_SOURCES = tests/unit/test_text.c tests/unit/fs_test.h mod_farmsync/text.c
tests_unit_test_text_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_test_text_LDADD = lib/base/libfs_base.la $(CHECK_LIBS) $(APR_LIBS)
