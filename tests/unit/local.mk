# tests/unit/local.mk: FS_UNIT_TESTS lists every Check program.
if HAVE_CHECK
include tests/unit/base.mk
include tests/unit/image.mk
include tests/unit/control.mk
include tests/unit/net.mk
include tests/unit/sync.mk
include tests/unit/source.mk
include tests/unit/agent.mk
include tests/unit/ready.mk
include tests/unit/session.mk
include tests/unit/session_module.mk
include tests/unit/backplane.mk
include tests/unit/avail.mk
include tests/unit/route.mk
include tests/unit/route_cookie.mk
include tests/unit/reuse.mk
endif
