include tests/fuzz/sync.mk
