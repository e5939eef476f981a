noinst_PROGRAMS += tests/tools/fs_notice
tests_tools_fs_notice_SOURCES = tests/tools/fs_notice.c
tests_tools_fs_notice_CPPFLAGS = $(AM_CPPFLAGS)
tests_tools_fs_notice_LDADD = lib/avail/libfs_notice.la lib/avail/libfs_avail.la \
	lib/control/libfs_control.la lib/base/libfs_base.la $(JANSSON_LIBS) $(CRYPTO_LIBS) $(APR_LIBS)
