# As tests/fuzz/sync.mk: make check replays the corpus; with --enable-fuzz the fuzzer is built too.
check_PROGRAMS += tests/fuzz/replay_session
TESTS += tests/fuzz/replay_session
tests_fuzz_replay_session_SOURCES = tests/fuzz/replay.c tests/fuzz/fuzz_session.c
tests_fuzz_replay_session_CPPFLAGS = $(AM_CPPFLAGS) -DFS_FUZZ_CORPUS='"session"'
tests_fuzz_replay_session_LDADD = lib/session/libfs_session.la

if FUZZ
noinst_PROGRAMS += tests/fuzz/fuzz_session
tests_fuzz_fuzz_session_SOURCES = tests/fuzz/fuzz_session.c
tests_fuzz_fuzz_session_LDADD = lib/session/libfs_session.la
tests_fuzz_fuzz_session_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
endif

EXTRA_DIST += tests/fuzz/corpus/session

check_PROGRAMS += tests/fuzz/replay_session_batch
TESTS += tests/fuzz/replay_session_batch
tests_fuzz_replay_session_batch_SOURCES = tests/fuzz/replay.c tests/fuzz/fuzz_session_batch.c
tests_fuzz_replay_session_batch_CPPFLAGS = $(AM_CPPFLAGS) -DFS_FUZZ_CORPUS='"session_batch"'
tests_fuzz_replay_session_batch_LDADD = lib/session/libfs_session.la

if FUZZ
noinst_PROGRAMS += tests/fuzz/fuzz_session_batch
tests_fuzz_fuzz_session_batch_SOURCES = tests/fuzz/fuzz_session_batch.c
tests_fuzz_fuzz_session_batch_LDADD = lib/session/libfs_session.la
tests_fuzz_fuzz_session_batch_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
endif

EXTRA_DIST += tests/fuzz/corpus/session_batch

check_PROGRAMS += tests/fuzz/replay_session_map
TESTS += tests/fuzz/replay_session_map
tests_fuzz_replay_session_map_SOURCES = tests/fuzz/replay.c tests/fuzz/fuzz_session_map.c
tests_fuzz_replay_session_map_CPPFLAGS = $(AM_CPPFLAGS) -DFS_FUZZ_CORPUS='"session_map"'
tests_fuzz_replay_session_map_LDADD = lib/session/libfs_session.la

if FUZZ
noinst_PROGRAMS += tests/fuzz/fuzz_session_map
tests_fuzz_fuzz_session_map_SOURCES = tests/fuzz/fuzz_session_map.c
tests_fuzz_fuzz_session_map_LDADD = lib/session/libfs_session.la
tests_fuzz_fuzz_session_map_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
endif

EXTRA_DIST += tests/fuzz/corpus/session_map
