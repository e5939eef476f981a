include tests/tools/prober.mk
include tests/tools/peek.mk
include tests/tools/promote.mk
include tests/tools/publish.mk
include tests/tools/notice.mk
include tests/tools/ready.mk
include tests/tools/image.mk
include tests/tools/session.mk
