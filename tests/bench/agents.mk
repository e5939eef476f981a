# A thousand agents in one process; tests/bench/herd.py runs it against a datasrv. Not part of make check.
EXTRA_PROGRAMS += tests/bench/bench_agents
tests_bench_bench_agents_SOURCES = tests/bench/bench_agents.c
tests_bench_bench_agents_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir) $(CURL_CFLAGS) $(JANSSON_CFLAGS) \
	$(XXHASH_CFLAGS)
tests_bench_bench_agents_LDADD = mod_farmsync/agent/libagent.la lib/sync/libfs_sync.la \
	lib/net/libfs_net.la lib/image/libfs_image.la lib/base/libfs_base.la $(CURL_LIBS) \
	$(JANSSON_LIBS) $(XXHASH_LIBS) $(CRYPTO_LIBS) $(APR_LIBS)
EXTRA_DIST += tests/bench/herd.py
