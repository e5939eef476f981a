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
	lib/sync/fs_json_field.c lib/sync/fs_json_field.h \
	lib/sync/fs_retrieve.c lib/sync/fs_retrieve.h \
	lib/sync/fs_retrieve_job.h lib/sync/fs_retrieve_delta.c \
	lib/sync/fs_part.c lib/sync/fs_part.h \
	lib/sync/fs_verified.c lib/sync/fs_verified.h \
	lib/sync/fs_images.c lib/sync/fs_images_spare.c
lib_sync_libfs_sync_la_CPPFLAGS = $(AM_CPPFLAGS) $(JANSSON_CFLAGS)
lib_sync_libfs_sync_la_LIBADD = $(JANSSON_LIBS)

noinst_LTLIBRARIES += lib/sync/libfs_source.la
lib_sync_libfs_source_la_SOURCES = \
	lib/sync/fs_source.c lib/sync/fs_source.h \
	lib/sync/fs_source_build.c lib/sync/fs_source_image.h \
	lib/sync/fs_source_update.c lib/sync/fs_source_update.h \
	lib/sync/fs_source_columns.c \
	lib/sync/fs_source_promote.c \
	lib/sync/fs_transport.c lib/sync/fs_transport.h
lib_sync_libfs_source_la_CPPFLAGS = $(AM_CPPFLAGS) $(JANSSON_CFLAGS)
lib_sync_libfs_source_la_LIBADD = $(JANSSON_LIBS)
