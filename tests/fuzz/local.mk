include tests/fuzz/sync.mk
include tests/fuzz/net.mk
