EXTRA_PROGRAMS =
include tests/bench/image.mk
include tests/bench/agents.mk
include tests/bench/sessions.mk
EXTRA_DIST += tests/bench/down.py tests/bench/route_home.py tests/bench/route_proxy.py
include tests/bench/availability.mk
