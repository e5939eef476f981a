include tests/fuzz/sync.mk
include tests/fuzz/net.mk
include tests/fuzz/image.mk
include tests/fuzz/session.mk
include tests/fuzz/backplane.mk
include tests/fuzz/avail.mk
include tests/fuzz/cookie.mk
include tests/fuzz/reuse.mk
