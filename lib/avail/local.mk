# Availability: what a notice says, when it is in force, and how it is published. libfs_avail is what
# httpd's children use; JSON is a library of its own, which they do without.
noinst_LTLIBRARIES += lib/avail/libfs_avail.la lib/avail/libfs_notice.la
lib_avail_libfs_avail_la_SOURCES = \
	lib/avail/fs_notice.c lib/avail/fs_notice.h \
	lib/avail/fs_window.c lib/avail/fs_window.h \
	lib/avail/fs_zone.c lib/avail/fs_zone.h \
	lib/avail/fs_avail_page.h lib/avail/fs_avail_internal.h \
	lib/avail/fs_avail_file.c lib/avail/fs_avail_map.c \
	lib/avail/fs_avail_reader.c lib/avail/fs_avail_writer.c \
	lib/avail/fs_avail_peers.c lib/avail/fs_avail_peers.h
lib_avail_libfs_notice_la_SOURCES = lib/avail/fs_notice_json.c
lib_avail_libfs_notice_la_CPPFLAGS = $(AM_CPPFLAGS) $(JANSSON_CFLAGS)
lib_avail_libfs_notice_la_LIBADD = $(JANSSON_LIBS)
