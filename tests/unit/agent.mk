check_PROGRAMS += tests/unit/test_agent
TESTS += tests/unit/test_agent
tests_unit_test_agent_SOURCES = tests/unit/test_agent.c tests/unit/fs_test.h
tests_unit_test_agent_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/mod_farmsync/agent $(CHECK_CFLAGS)
tests_unit_test_agent_LDADD = mod_farmsync/agent/libagent.la lib/sync/libfs_sync.la \
	lib/control/libfs_control.la lib/image/libfs_image.la lib/base/libfs_base.la \
	$(JANSSON_LIBS) $(CHECK_LIBS)

check_PROGRAMS += tests/unit/test_monitor
TESTS += tests/unit/test_monitor
tests_unit_test_monitor_SOURCES = tests/unit/test_monitor.c tests/unit/fs_test.h \
	mod_farmsync/agent/monitor_probe.c
tests_unit_test_monitor_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/mod_farmsync/agent \
	$(CHECK_CFLAGS) $(JANSSON_CFLAGS) $(CURL_CFLAGS)
tests_unit_test_monitor_LDADD = mod_farmsync/agent/libagent.la lib/base/libfs_base.la \
	$(JANSSON_LIBS) $(CURL_LIBS) $(CHECK_LIBS)

check_PROGRAMS += tests/unit/test_avail_rules
TESTS += tests/unit/test_avail_rules
tests_unit_test_avail_rules_SOURCES = tests/unit/test_avail_rules.c tests/unit/fs_test.h
tests_unit_test_avail_rules_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/mod_farmsync/agent $(CHECK_CFLAGS)
tests_unit_test_avail_rules_LDADD = mod_farmsync/agent/libagent.la lib/avail/libfs_notice.la \
	lib/avail/libfs_avail.la lib/control/libfs_control.la lib/base/libfs_base.la \
	$(JANSSON_LIBS) $(CHECK_LIBS)

check_PROGRAMS += tests/unit/test_agent_sessions
TESTS += tests/unit/test_agent_sessions
tests_unit_test_agent_sessions_SOURCES = tests/unit/test_agent_sessions.c tests/unit/fs_test.h
tests_unit_test_agent_sessions_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/mod_farmsync/agent \
	$(CHECK_CFLAGS)
tests_unit_test_agent_sessions_LDADD = mod_farmsync/agent/libagent.la \
	lib/session/libfs_session.la lib/base/libfs_base.la $(CHECK_LIBS)

check_PROGRAMS += tests/unit/test_agent_route
TESTS += tests/unit/test_agent_route
tests_unit_test_agent_route_SOURCES = tests/unit/test_agent_route.c tests/unit/fs_test.h
tests_unit_test_agent_route_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/mod_farmsync/agent \
	$(CHECK_CFLAGS) $(JANSSON_CFLAGS)
tests_unit_test_agent_route_LDADD = mod_farmsync/agent/libagent.la lib/route/libfs_route.la \
	lib/base/libfs_base.la $(JANSSON_LIBS) $(CHECK_LIBS)
