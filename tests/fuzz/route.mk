FS_FUZZ_ROUTE_LIBS = lib/route/libfs_route_share.la lib/route/libfs_route_shared.la \
	lib/control/libfs_control.la lib/image/libfs_image.la lib/base/libfs_base.la

check_PROGRAMS += tests/fuzz/replay_route_delta
TESTS += tests/fuzz/replay_route_delta
tests_fuzz_replay_route_delta_SOURCES = tests/fuzz/replay.c tests/fuzz/fuzz_route_delta.c
tests_fuzz_replay_route_delta_CPPFLAGS = $(AM_CPPFLAGS) -DFS_FUZZ_CORPUS='"route_delta"'
tests_fuzz_replay_route_delta_LDADD = $(FS_FUZZ_ROUTE_LIBS)

if FUZZ
noinst_PROGRAMS += tests/fuzz/fuzz_route_delta
tests_fuzz_fuzz_route_delta_SOURCES = tests/fuzz/fuzz_route_delta.c
tests_fuzz_fuzz_route_delta_LDADD = $(FS_FUZZ_ROUTE_LIBS)
tests_fuzz_fuzz_route_delta_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
endif

EXTRA_DIST += tests/fuzz/corpus/route_delta
