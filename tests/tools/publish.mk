noinst_PROGRAMS += tests/tools/fs_publish
tests_tools_fs_publish_SOURCES = tests/tools/fs_publish.c
tests_tools_fs_publish_LDADD = lib/control/libfs_control.la lib/image/libfs_image.la \
	lib/base/libfs_base.la $(XXHASH_LIBS) $(CRYPTO_LIBS) $(APR_LIBS)
