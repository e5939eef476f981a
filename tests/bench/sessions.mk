# Run by scripts/bench; mod_counter.c is built by them with apxs.
EXTRA_DIST += tests/bench/counter.php tests/bench/mod_counter.c tests/bench/sessions_cost.py \
	tests/bench/sessions_semantics.py tests/bench/sessions_sites.py
