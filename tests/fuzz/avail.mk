# As tests/fuzz/sync.mk: make check replays the corpora; with --enable-fuzz the fuzzers are built too.
FS_FUZZ_NOTICE_LIBS = lib/avail/libfs_notice.la lib/avail/libfs_avail.la \
	lib/control/libfs_control.la lib/base/libfs_base.la $(JANSSON_LIBS)

check_PROGRAMS += tests/fuzz/replay_notice tests/fuzz/replay_notices_file
TESTS += tests/fuzz/replay_notice tests/fuzz/replay_notices_file
tests_fuzz_replay_notice_SOURCES = tests/fuzz/replay.c tests/fuzz/fuzz_notice.c
tests_fuzz_replay_notice_CPPFLAGS = $(AM_CPPFLAGS) -DFS_FUZZ_CORPUS='"notice"'
tests_fuzz_replay_notice_LDADD = $(FS_FUZZ_NOTICE_LIBS)
tests_fuzz_replay_notices_file_SOURCES = tests/fuzz/replay.c tests/fuzz/fuzz_notices_file.c
tests_fuzz_replay_notices_file_CPPFLAGS = $(AM_CPPFLAGS) -DFS_FUZZ_CORPUS='"notices_file"'
tests_fuzz_replay_notices_file_LDADD = $(FS_FUZZ_NOTICE_LIBS)

if FUZZ
noinst_PROGRAMS += tests/fuzz/fuzz_notice tests/fuzz/fuzz_notices_file
tests_fuzz_fuzz_notice_SOURCES = tests/fuzz/fuzz_notice.c
tests_fuzz_fuzz_notice_LDADD = $(FS_FUZZ_NOTICE_LIBS)
tests_fuzz_fuzz_notice_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
tests_fuzz_fuzz_notices_file_SOURCES = tests/fuzz/fuzz_notices_file.c
tests_fuzz_fuzz_notices_file_LDADD = $(FS_FUZZ_NOTICE_LIBS)
tests_fuzz_fuzz_notices_file_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
endif

EXTRA_DIST += tests/fuzz/corpus/notice tests/fuzz/corpus/notices_file
