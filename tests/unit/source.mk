# The program defines fs_sql's functions itself; of libfs_sql it takes only the formatting.
check_PROGRAMS += tests/unit/test_source
TESTS += tests/unit/test_source
tests_unit_test_source_SOURCES = tests/unit/test_source.c tests/unit/fs_test.h
tests_unit_test_source_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_test_source_LDADD = lib/sync/libfs_source.la lib/sync/libfs_sync.la \
	lib/net/libfs_sql.la lib/image/libfs_image.la lib/base/libfs_base.la $(JANSSON_LIBS) \
	$(XXHASH_LIBS) $(CHECK_LIBS)
