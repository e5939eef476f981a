EXTRA_PROGRAMS =
include tests/bench/image.mk
