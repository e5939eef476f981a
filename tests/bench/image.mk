# Not part of make check: figures need a quiet machine. scripts/bench runs it.
if HAVE_BENCH_LIBS
EXTRA_PROGRAMS += tests/bench/bench_image
tests_bench_bench_image_SOURCES = tests/bench/bench_image.c tests/bench/bench_image.h \
	tests/bench/bench_stores.c tests/bench/bench_common.c tests/bench/bench_changes.c
tests_bench_bench_image_CPPFLAGS = $(AM_CPPFLAGS) $(LMDB_CFLAGS) $(ZSTD_CFLAGS) -I$(srcdir)/tests/bench
tests_bench_bench_image_LDADD = lib/image/libfs_delta.la lib/image/libfs_image.la lib/base/libfs_base.la \
	$(LMDB_LIBS) $(ZSTD_LIBS) -lcdb $(APR_LIBS)
endif
