noinst_PROGRAMS += tests/tools/fs_route_table
tests_tools_fs_route_table_SOURCES = tests/tools/fs_route_table.c
tests_tools_fs_route_table_LDADD = lib/route/libfs_route_shared.la lib/control/libfs_control.la \
	lib/image/libfs_image.la $(APR_LIBS) $(XXHASH_LIBS)
noinst_PROGRAMS += tests/tools/fs_route_visitors
tests_tools_fs_route_visitors_SOURCES = tests/tools/fs_route_visitors.c
tests_tools_fs_route_visitors_LDADD = lib/route/libfs_route_shared.la lib/control/libfs_control.la \
	lib/image/libfs_image.la $(APR_LIBS) $(XXHASH_LIBS)
