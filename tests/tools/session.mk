# The session store of a host by hand, as a request process uses it; for the tests.
noinst_PROGRAMS += tests/tools/fs_session
tests_tools_fs_session_SOURCES = tests/tools/fs_session.c
tests_tools_fs_session_CPPFLAGS = $(AM_CPPFLAGS) $(JANSSON_CFLAGS)
tests_tools_fs_session_LDADD = lib/session/libfs_session.la lib/control/libfs_control.la \
	lib/image/libfs_image.la lib/net/libfs_secret.la lib/base/libfs_base.la $(JANSSON_LIBS) \
	$(APR_LIBS)
