noinst_LTLIBRARIES += lib/image/libfs_image.la
lib_image_libfs_image_la_SOURCES = \
	lib/image/fs_image.h lib/image/fs_image.c \
	lib/image/fs_image_format.h lib/image/fs_image_schema.c \
	lib/image/fs_image_find.c lib/image/fs_image_index.c lib/image/fs_image_verify.c \
	lib/image/fs_image_builder.h lib/image/fs_image_builder.c \
	lib/image/fs_image_build.c lib/image/fs_image_update.c \
	lib/image/fs_image_table.h lib/image/fs_image_table.c \
	lib/image/fs_image_key.h lib/image/fs_image_key.c \
	lib/image/fs_image_sort.h lib/image/fs_image_sort.c \
	lib/image/fs_image_write.h lib/image/fs_image_write.c

# Deltas need zstd, which request processes do without: a library of its own.
noinst_LTLIBRARIES += lib/image/libfs_delta.la
lib_image_libfs_delta_la_SOURCES = \
	lib/image/fs_delta.h lib/image/fs_delta_format.h \
	lib/image/fs_delta_make.c lib/image/fs_delta_apply.c
lib_image_libfs_delta_la_CPPFLAGS = $(AM_CPPFLAGS) $(XXHASH_CFLAGS) $(ZSTD_CFLAGS)
lib_image_libfs_delta_la_LIBADD = lib/image/libfs_image.la $(ZSTD_LIBS)
lib_image_libfs_image_la_CPPFLAGS = $(AM_CPPFLAGS) $(XXHASH_CFLAGS)
lib_image_libfs_image_la_LIBADD = lib/base/libfs_base.la $(APR_LIBS)

bin_PROGRAMS += datasrv/farmsync-image
datasrv_farmsync_image_SOURCES = datasrv/image_tool.c datasrv/image_print.c datasrv/image_print.h
datasrv_farmsync_image_CPPFLAGS = $(AM_CPPFLAGS) $(CRYPTO_CFLAGS)
datasrv_farmsync_image_LDADD = lib/image/libfs_image.la lib/base/libfs_base.la

EXTRA_DIST += doc/image-format.md
