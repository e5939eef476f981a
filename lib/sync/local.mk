# libfs_sync decides: clock, cycle, manifest, retrieval; no network, no SQL. libfs_source adds what
# talks to the database and the data servers. Neither contains another area's library: whoever links
# them lists base, image and net too.
noinst_LTLIBRARIES += lib/sync/libfs_sync.la
lib_sync_libfs_sync_la_SOURCES = \
	lib/sync/fs_farm_clock.c lib/sync/fs_farm_clock.h \
	lib/sync/fs_cycle.c lib/sync/fs_cycle.h \
	lib/sync/fs_manifest.c lib/sync/fs_manifest.h \
	lib/sync/fs_manifest_json.c \
	lib/sync/fs_member.c lib/sync/fs_member.h \
	lib/sync/fs_json_field.c lib/sync/fs_json_field.h
lib_sync_libfs_sync_la_CPPFLAGS = $(AM_CPPFLAGS) $(JANSSON_CFLAGS)
lib_sync_libfs_sync_la_LIBADD = $(JANSSON_LIBS)

noinst_HEADERS += lib/sync/fs_source.h lib/sync/fs_retrieve.h lib/sync/fs_transport.h
