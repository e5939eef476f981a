# As tests/fuzz/sync.mk: make check replays each corpus; with --enable-fuzz the fuzzers are built too.
FS_FUZZ_IMAGE_LIBS = lib/image/libfs_delta.la lib/image/libfs_image.la lib/base/libfs_base.la \
	$(ZSTD_LIBS)
FS_FUZZ_IMAGE_CPPFLAGS = $(AM_CPPFLAGS) $(XXHASH_CFLAGS) $(ZSTD_CFLAGS)

check_PROGRAMS += tests/fuzz/replay_image tests/fuzz/replay_delta
TESTS += tests/fuzz/replay_image tests/fuzz/replay_delta
tests_fuzz_replay_image_SOURCES = tests/fuzz/replay.c tests/fuzz/fuzz_image.c
tests_fuzz_replay_image_CPPFLAGS = $(FS_FUZZ_IMAGE_CPPFLAGS) -DFS_FUZZ_CORPUS='"image"'
tests_fuzz_replay_image_LDADD = $(FS_FUZZ_IMAGE_LIBS)
tests_fuzz_replay_delta_SOURCES = tests/fuzz/replay.c tests/fuzz/fuzz_delta.c
tests_fuzz_replay_delta_CPPFLAGS = $(FS_FUZZ_IMAGE_CPPFLAGS) -DFS_FUZZ_CORPUS='"delta"'
tests_fuzz_replay_delta_LDADD = $(FS_FUZZ_IMAGE_LIBS)

if FUZZ
noinst_PROGRAMS += tests/fuzz/fuzz_image tests/fuzz/fuzz_delta
tests_fuzz_fuzz_image_SOURCES = tests/fuzz/fuzz_image.c
tests_fuzz_fuzz_image_CPPFLAGS = $(FS_FUZZ_IMAGE_CPPFLAGS)
tests_fuzz_fuzz_image_LDADD = $(FS_FUZZ_IMAGE_LIBS)
tests_fuzz_fuzz_image_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
tests_fuzz_fuzz_delta_SOURCES = tests/fuzz/fuzz_delta.c
tests_fuzz_fuzz_delta_CPPFLAGS = $(FS_FUZZ_IMAGE_CPPFLAGS)
tests_fuzz_fuzz_delta_LDADD = $(FS_FUZZ_IMAGE_LIBS)
tests_fuzz_fuzz_delta_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
endif

EXTRA_DIST += tests/fuzz/corpus/image tests/fuzz/corpus/delta
