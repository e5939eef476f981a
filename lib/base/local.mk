noinst_LTLIBRARIES += lib/base/libfs_base.la
lib_base_libfs_base_la_SOURCES = \
	lib/base/fs_result.c lib/base/fs_result.h \
	lib/base/fs_log.c lib/base/fs_log.h \
	lib/base/fs_time.c lib/base/fs_time.h \
	lib/base/fs_digest.c lib/base/fs_digest.h \
	lib/base/fs_mac.c lib/base/fs_mac.h \
	lib/base/fs_base64url.c lib/base/fs_base64url.h \
	lib/base/fs_known.c lib/base/fs_known.h \
	lib/base/fs_json_scan.c lib/base/fs_json_scan.h \
	lib/base/fs_name.c lib/base/fs_name.h \
	lib/base/fs_file.c lib/base/fs_file.h \
	lib/base/fs_once.c lib/base/fs_once.h \
	lib/base/fs_apart.c lib/base/fs_apart.h \
	lib/base/fs_boot.c lib/base/fs_boot.h \
	lib/base/fs_unix.c lib/base/fs_unix.h
lib_base_libfs_base_la_CPPFLAGS = $(AM_CPPFLAGS) $(CRYPTO_CFLAGS) $(XXHASH_CFLAGS)
lib_base_libfs_base_la_LIBADD = $(CRYPTO_LIBS) $(APR_LIBS)

# What the stores of sessions and visitors are made of; whoever links it has libfs_base.
noinst_LTLIBRARIES += lib/base/libfs_lmdb.la
lib_base_libfs_lmdb_la_SOURCES = lib/base/fs_lmdb.c lib/base/fs_lmdb.h \
	lib/base/fs_lmdb_prepare.c lib/base/fs_lmdb_prepare.h
lib_base_libfs_lmdb_la_CPPFLAGS = $(AM_CPPFLAGS) $(CRYPTO_CFLAGS) $(LMDB_CFLAGS)
lib_base_libfs_lmdb_la_LIBADD = $(LMDB_LIBS) $(CRYPTO_LIBS)
