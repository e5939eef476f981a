check_PROGRAMS += tests/unit/test_sync
TESTS += tests/unit/test_sync
tests_unit_test_sync_SOURCES = tests/unit/test_sync.c tests/unit/fs_test.h
tests_unit_test_sync_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_test_sync_LDADD = lib/sync/libfs_sync.la lib/base/libfs_base.la $(JANSSON_LIBS) \
	$(CHECK_LIBS)

check_PROGRAMS += tests/unit/test_manifest
TESTS += tests/unit/test_manifest
tests_unit_test_manifest_SOURCES = tests/unit/test_manifest.c tests/unit/fs_test.h
tests_unit_test_manifest_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_test_manifest_LDADD = $(tests_unit_test_sync_LDADD)

check_PROGRAMS += tests/unit/test_clock_chain
TESTS += tests/unit/test_clock_chain
tests_unit_test_clock_chain_SOURCES = tests/unit/test_clock_chain.c tests/unit/fs_test.h
tests_unit_test_clock_chain_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_test_clock_chain_LDADD = lib/sync/libfs_sync.la lib/control/libfs_control.la \
	lib/base/libfs_base.la $(JANSSON_LIBS) $(CHECK_LIBS)

check_PROGRAMS += tests/unit/test_retrieve
TESTS += tests/unit/test_retrieve
tests_unit_test_retrieve_SOURCES = tests/unit/test_retrieve.c tests/unit/fs_test.h
tests_unit_test_retrieve_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_test_retrieve_LDADD = lib/sync/libfs_sync.la lib/image/libfs_delta.la lib/image/libfs_image.la \
	lib/base/libfs_base.la $(JANSSON_LIBS) $(XXHASH_LIBS) $(CHECK_LIBS)

check_PROGRAMS += tests/unit/test_retrieve_delta
TESTS += tests/unit/test_retrieve_delta
tests_unit_test_retrieve_delta_SOURCES = tests/unit/test_retrieve_delta.c tests/unit/fs_test.h
tests_unit_test_retrieve_delta_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_test_retrieve_delta_LDADD = lib/sync/libfs_sync.la lib/image/libfs_delta.la \
	lib/image/libfs_image.la lib/base/libfs_base.la $(JANSSON_LIBS) $(XXHASH_LIBS) $(CHECK_LIBS)
