# make check replays the corpus. To fuzz: configure CC=clang CFLAGS='-g -O1 -fsanitize=fuzzer-no-link,address'
# --enable-fuzz, then tests/fuzz/fuzz_manifest NEW_DIRECTORY SRCDIR/tests/fuzz/corpus/manifest
FS_FUZZ_SYNC_LIBS = lib/sync/libfs_sync.la lib/base/libfs_base.la $(JANSSON_LIBS)

check_PROGRAMS += tests/fuzz/replay_manifest tests/fuzz/replay_member
TESTS += tests/fuzz/replay_manifest tests/fuzz/replay_member
tests_fuzz_replay_manifest_SOURCES = tests/fuzz/replay.c tests/fuzz/fuzz_manifest.c
tests_fuzz_replay_manifest_CPPFLAGS = $(AM_CPPFLAGS) -DFS_FUZZ_CORPUS='"manifest"'
tests_fuzz_replay_manifest_LDADD = $(FS_FUZZ_SYNC_LIBS)
tests_fuzz_replay_member_SOURCES = tests/fuzz/replay.c tests/fuzz/fuzz_member.c
tests_fuzz_replay_member_CPPFLAGS = $(AM_CPPFLAGS) -DFS_FUZZ_CORPUS='"member"'
tests_fuzz_replay_member_LDADD = $(FS_FUZZ_SYNC_LIBS)

if FUZZ
noinst_PROGRAMS += tests/fuzz/fuzz_manifest tests/fuzz/fuzz_member
tests_fuzz_fuzz_manifest_SOURCES = tests/fuzz/fuzz_manifest.c
tests_fuzz_fuzz_manifest_LDADD = $(FS_FUZZ_SYNC_LIBS)
tests_fuzz_fuzz_manifest_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
tests_fuzz_fuzz_member_SOURCES = tests/fuzz/fuzz_member.c
tests_fuzz_fuzz_member_LDADD = $(FS_FUZZ_SYNC_LIBS)
tests_fuzz_fuzz_member_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
endif

EXTRA_DIST += tests/fuzz/corpus/manifest tests/fuzz/corpus/member
