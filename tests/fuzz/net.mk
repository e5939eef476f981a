# As tests/fuzz/sync.mk: make check replays each corpus; with --enable-fuzz the fuzzers are built too.
check_PROGRAMS += tests/fuzz/replay_key_file \
	tests/fuzz/replay_auth \
	tests/fuzz/replay_http_head \
	tests/fuzz/replay_option_file
TESTS += tests/fuzz/replay_key_file \
	tests/fuzz/replay_auth \
	tests/fuzz/replay_http_head \
	tests/fuzz/replay_option_file

tests_fuzz_replay_key_file_SOURCES = tests/fuzz/replay.c tests/fuzz/fuzz_key_file.c
tests_fuzz_replay_key_file_CPPFLAGS = $(AM_CPPFLAGS) -DFS_FUZZ_CORPUS='"key_file"'
tests_fuzz_replay_key_file_LDADD = lib/net/libfs_net.la

tests_fuzz_replay_auth_SOURCES = tests/fuzz/replay.c tests/fuzz/fuzz_auth.c
tests_fuzz_replay_auth_CPPFLAGS = $(AM_CPPFLAGS) -DFS_FUZZ_CORPUS='"auth"'
tests_fuzz_replay_auth_LDADD = lib/net/libfs_net.la

tests_fuzz_replay_http_head_SOURCES = tests/fuzz/replay.c tests/fuzz/fuzz_http_head.c
tests_fuzz_replay_http_head_CPPFLAGS = $(AM_CPPFLAGS) -DFS_FUZZ_CORPUS='"http_head"'
tests_fuzz_replay_http_head_LDADD = lib/net/libfs_net.la

tests_fuzz_replay_option_file_SOURCES = tests/fuzz/replay.c tests/fuzz/fuzz_option_file.c
tests_fuzz_replay_option_file_CPPFLAGS = $(AM_CPPFLAGS) -DFS_FUZZ_CORPUS='"option_file"'
tests_fuzz_replay_option_file_LDADD = lib/net/libfs_sql.la

if FUZZ
noinst_PROGRAMS += tests/fuzz/fuzz_key_file \
	tests/fuzz/fuzz_auth \
	tests/fuzz/fuzz_http_head \
	tests/fuzz/fuzz_option_file
tests_fuzz_fuzz_key_file_SOURCES = tests/fuzz/fuzz_key_file.c
tests_fuzz_fuzz_key_file_LDADD = lib/net/libfs_net.la
tests_fuzz_fuzz_key_file_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
tests_fuzz_fuzz_auth_SOURCES = tests/fuzz/fuzz_auth.c
tests_fuzz_fuzz_auth_LDADD = lib/net/libfs_net.la
tests_fuzz_fuzz_auth_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
tests_fuzz_fuzz_http_head_SOURCES = tests/fuzz/fuzz_http_head.c
tests_fuzz_fuzz_http_head_LDADD = lib/net/libfs_net.la
tests_fuzz_fuzz_http_head_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
tests_fuzz_fuzz_option_file_SOURCES = tests/fuzz/fuzz_option_file.c
tests_fuzz_fuzz_option_file_LDADD = lib/net/libfs_sql.la
tests_fuzz_fuzz_option_file_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
endif

EXTRA_DIST += tests/fuzz/corpus/key_file \
	tests/fuzz/corpus/auth \
	tests/fuzz/corpus/http_head \
	tests/fuzz/corpus/option_file
