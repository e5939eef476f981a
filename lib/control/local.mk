noinst_LTLIBRARIES += lib/control/libfs_control.la
lib_control_libfs_control_la_SOURCES = \
	lib/control/fs_control.h \
	lib/control/fs_page.c lib/control/fs_page.h \
	lib/control/fs_choice.c \
	lib/control/fs_control_writer.c \
	lib/control/fs_control_reader.c \
	lib/control/fs_view_file.c lib/control/fs_view_file.h \
	lib/control/fs_view_cache.c lib/control/fs_view_cache.h
