# Run by scripts/bench; mod_counter.c is built by them with apxs.
EXTRA_DIST += tests/bench/counter.php tests/bench/mod_counter.c tests/bench/sessions_cost.py \
	tests/bench/sessions_failover.py tests/bench/sessions_semantics.py tests/bench/sessions_sites.py
EXTRA_PROGRAMS += tests/bench/bench_sessions
tests_bench_bench_sessions_SOURCES = tests/bench/bench_sessions.c
tests_bench_bench_sessions_LDADD = lib/session/libfs_session.la lib/base/libfs_base.la $(APR_LIBS)

EXTRA_DIST += tests/bench/sessions_bank.py
EXTRA_PROGRAMS += tests/bench/bench_bank
tests_bench_bench_bank_SOURCES = tests/bench/bench_bank.c
tests_bench_bench_bank_LDADD = lib/session/libfs_session.la lib/net/libfs_secret.la \
	lib/base/libfs_base.la $(CRYPTO_LIBS) $(APR_LIBS)
