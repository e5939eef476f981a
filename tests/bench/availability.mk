# Run by scripts/bench.
EXTRA_DIST += tests/bench/availability.py tests/bench/reuse.py
