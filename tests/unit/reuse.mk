check_PROGRAMS += tests/unit/test_reuse tests/unit/test_reuse_store \
	tests/unit/test_reuse_mirrors tests/unit/test_once
TESTS += tests/unit/test_reuse tests/unit/test_reuse_store \
	tests/unit/test_reuse_mirrors tests/unit/test_once
tests_unit_test_reuse_SOURCES = tests/unit/test_reuse.c tests/unit/fs_test.h
tests_unit_test_reuse_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS) $(ZSTD_CFLAGS)
tests_unit_test_reuse_LDADD = lib/reuse/libfs_reuse.la lib/base/libfs_base.la $(CHECK_LIBS)

tests_unit_test_reuse_store_SOURCES = tests/unit/test_reuse_store.c tests/unit/fs_test.h
tests_unit_test_reuse_store_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_test_reuse_store_LDADD = lib/reuse/libfs_reuse.la lib/base/libfs_base.la $(CHECK_LIBS)

tests_unit_test_reuse_mirrors_SOURCES = tests/unit/test_reuse_mirrors.c tests/unit/fs_test.h
tests_unit_test_reuse_mirrors_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_test_reuse_mirrors_LDADD = lib/reuse/libfs_reuse.la lib/base/libfs_base.la $(CHECK_LIBS)

tests_unit_test_once_SOURCES = tests/unit/test_once.c tests/unit/fs_test.h
tests_unit_test_once_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_test_once_LDADD = lib/reuse/libfs_reuse.la lib/control/libfs_control.la \
	lib/base/libfs_base.la $(CHECK_LIBS)

check_PROGRAMS += tests/unit/test_prepare
TESTS += tests/unit/test_prepare
tests_unit_test_prepare_SOURCES = tests/unit/test_prepare.c tests/unit/fs_test.h
tests_unit_test_prepare_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS) $(LMDB_CFLAGS)
tests_unit_test_prepare_LDADD = lib/route/libfs_route_shared.la lib/session/libfs_session.la \
	$(CHECK_LIBS)
