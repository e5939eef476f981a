FS_FUZZ_REUSE_LIBS = lib/reuse/libfs_reuse.la lib/base/libfs_base.la

check_PROGRAMS += tests/fuzz/replay_reuse
TESTS += tests/fuzz/replay_reuse
tests_fuzz_replay_reuse_SOURCES = tests/fuzz/replay.c tests/fuzz/fuzz_reuse.c
tests_fuzz_replay_reuse_CPPFLAGS = $(AM_CPPFLAGS) -DFS_FUZZ_CORPUS='"reuse"'
tests_fuzz_replay_reuse_LDADD = $(FS_FUZZ_REUSE_LIBS)

if FUZZ
noinst_PROGRAMS += tests/fuzz/fuzz_reuse
tests_fuzz_fuzz_reuse_SOURCES = tests/fuzz/fuzz_reuse.c
tests_fuzz_fuzz_reuse_LDADD = $(FS_FUZZ_REUSE_LIBS)
tests_fuzz_fuzz_reuse_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
endif

EXTRA_DIST += tests/fuzz/corpus/reuse
