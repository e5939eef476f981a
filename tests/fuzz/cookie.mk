# As tests/fuzz/sync.mk: make check replays the corpus; with --enable-fuzz the fuzzer is built too.
FS_COOKIE_SOURCES = mod_farmsync/session_cookie.c mod_farmsync/session_json.c mod_farmsync/text.c
FS_COOKIE_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/mod_farmsync $(JANSSON_CFLAGS)
check_PROGRAMS += tests/fuzz/replay_cookie
TESTS += tests/fuzz/replay_cookie
tests_fuzz_replay_cookie_SOURCES = tests/fuzz/replay.c tests/fuzz/fuzz_cookie.c $(FS_COOKIE_SOURCES)
tests_fuzz_replay_cookie_CPPFLAGS = $(FS_COOKIE_CPPFLAGS) -DFS_FUZZ_CORPUS='"cookie"'
tests_fuzz_replay_cookie_LDADD = lib/session/libfs_session.la $(JANSSON_LIBS) $(APR_LIBS)

if FUZZ
noinst_PROGRAMS += tests/fuzz/fuzz_cookie
tests_fuzz_fuzz_cookie_SOURCES = tests/fuzz/fuzz_cookie.c $(FS_COOKIE_SOURCES)
tests_fuzz_fuzz_cookie_CPPFLAGS = $(FS_COOKIE_CPPFLAGS)
tests_fuzz_fuzz_cookie_LDADD = lib/session/libfs_session.la $(JANSSON_LIBS) $(APR_LIBS)
tests_fuzz_fuzz_cookie_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
endif

EXTRA_DIST += tests/fuzz/corpus/cookie
