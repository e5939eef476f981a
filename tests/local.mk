# One Check program a source area; each is registered here and run by make check.
include tests/unit/local.mk
include tests/fuzz/local.mk
include tests/bench/local.mk
include tests/tools/local.mk
include tests/farm/local.mk
