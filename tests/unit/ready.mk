check_PROGRAMS += tests/unit/test_ready
TESTS += tests/unit/test_ready
tests_unit_test_ready_SOURCES = tests/unit/test_ready.c tests/unit/ready_model.h tests/unit/fs_test.h
tests_unit_test_ready_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/mod_farmsync/agent $(CHECK_CFLAGS)
tests_unit_test_ready_LDADD = mod_farmsync/agent/libagent.la lib/sync/libfs_sync.la \
	lib/control/libfs_control.la lib/image/libfs_image.la lib/base/libfs_base.la \
	$(JANSSON_LIBS) $(CHECK_LIBS)
