# What the agent published below a state directory, as JSON; for the tests.
noinst_PROGRAMS += tests/tools/fs_peek
tests_tools_fs_peek_SOURCES = tests/tools/fs_peek.c
tests_tools_fs_peek_CPPFLAGS = $(AM_CPPFLAGS) $(JANSSON_CFLAGS)
tests_tools_fs_peek_LDADD = lib/control/libfs_control.la lib/image/libfs_image.la \
	lib/base/libfs_base.la $(JANSSON_LIBS)
