# As tests/fuzz/sync.mk: make check replays the corpus; with --enable-fuzz the fuzzer is built too.
check_PROGRAMS += tests/fuzz/replay_route_cookie
TESTS += tests/fuzz/replay_route_cookie
tests_fuzz_replay_route_cookie_SOURCES = tests/fuzz/replay.c tests/fuzz/fuzz_route_cookie.c
tests_fuzz_replay_route_cookie_CPPFLAGS = $(AM_CPPFLAGS) -DFS_FUZZ_CORPUS='"route_cookie"'
tests_fuzz_replay_route_cookie_LDADD = lib/route/libfs_route_signed.la lib/base/libfs_base.la

if FUZZ
noinst_PROGRAMS += tests/fuzz/fuzz_route_cookie
tests_fuzz_fuzz_route_cookie_SOURCES = tests/fuzz/fuzz_route_cookie.c
tests_fuzz_fuzz_route_cookie_LDADD = lib/route/libfs_route_signed.la lib/base/libfs_base.la
tests_fuzz_fuzz_route_cookie_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
endif

EXTRA_DIST += tests/fuzz/corpus/route_cookie
