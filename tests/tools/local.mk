include tests/tools/prober.mk
