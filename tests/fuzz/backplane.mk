# As tests/fuzz/sync.mk: make check replays the corpus; with --enable-fuzz the fuzzer is built too.
check_PROGRAMS += tests/fuzz/replay_exchange
TESTS += tests/fuzz/replay_exchange
tests_fuzz_replay_exchange_SOURCES = tests/fuzz/replay.c tests/fuzz/fuzz_exchange.c
tests_fuzz_replay_exchange_CPPFLAGS = $(AM_CPPFLAGS) -DFS_FUZZ_CORPUS='"exchange"'
tests_fuzz_replay_exchange_LDADD = lib/backplane/libfs_backplane.la

if FUZZ
noinst_PROGRAMS += tests/fuzz/fuzz_exchange
tests_fuzz_fuzz_exchange_SOURCES = tests/fuzz/fuzz_exchange.c
tests_fuzz_fuzz_exchange_LDADD = lib/backplane/libfs_backplane.la
tests_fuzz_fuzz_exchange_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
endif

EXTRA_DIST += tests/fuzz/corpus/exchange
