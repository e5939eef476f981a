# What datasrv and agents do with the database, by hand; tests/farm/test_source.py races it.
noinst_PROGRAMS += tests/tools/fs_promote
tests_tools_fs_promote_SOURCES = tests/tools/fs_promote.c
tests_tools_fs_promote_LDADD = lib/sync/libfs_source.la lib/sync/libfs_sync.la \
	lib/net/libfs_sql.la lib/image/libfs_image.la lib/base/libfs_base.la $(MYSQL_LIBS) \
	$(JANSSON_LIBS) $(XXHASH_LIBS) $(CRYPTO_LIBS) $(APR_LIBS)
