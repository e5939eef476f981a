# Asks all servers of a farm on one clock; built by make all, because the demo uses it too.
noinst_PROGRAMS += tests/tools/prober
tests_tools_prober_SOURCES = tests/tools/prober.c tests/tools/prober_http.c \
	tests/tools/prober_http.h
tests_tools_prober_LDADD = -lpthread
