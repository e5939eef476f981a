# What the agent decides is a library of its own, so that tests can drive it without a network.
noinst_LTLIBRARIES += mod_farmsync/agent/libagent.la
mod_farmsync_agent_libagent_la_SOURCES = \
	mod_farmsync/agent/plan.c mod_farmsync/agent/plan.h \
	mod_farmsync/agent/agent_config.c mod_farmsync/agent/agent_config.h \
	mod_farmsync/agent/agent_config_fields.c mod_farmsync/agent/agent_config_fields.h \
	mod_farmsync/agent/agent_config_route.c mod_farmsync/agent/agent_config_route.h \
	mod_farmsync/agent/agent_config_sessions.c mod_farmsync/agent/agent_config_sessions.h \
	mod_farmsync/agent/avail_ics.c mod_farmsync/agent/avail_ics.h \
	mod_farmsync/agent/avail_rules.c mod_farmsync/agent/avail_rules.h \
	mod_farmsync/agent/avail_table.c mod_farmsync/agent/avail_table.h \
	mod_farmsync/agent/monitor.c mod_farmsync/agent/monitor.h \
	mod_farmsync/agent/monitor_config.c \
	mod_farmsync/agent/route_record.c mod_farmsync/agent/route_record.h \
	mod_farmsync/agent/route_table.c mod_farmsync/agent/route_table.h \
	mod_farmsync/agent/session_bases.c mod_farmsync/agent/session_bases.h \
	mod_farmsync/agent/session_flight.c mod_farmsync/agent/session_flight.h \
	mod_farmsync/agent/session_release.c mod_farmsync/agent/session_release.h \
	mod_farmsync/agent/session_pace.c mod_farmsync/agent/session_pace.h \
	mod_farmsync/agent/session_table.c mod_farmsync/agent/session_table.h \
	mod_farmsync/agent/session_unknown.c mod_farmsync/agent/session_unknown.h
mod_farmsync_agent_libagent_la_CPPFLAGS = $(AM_CPPFLAGS) $(JANSSON_CFLAGS)
mod_farmsync_agent_libagent_la_LIBADD = $(JANSSON_LIBS)

libexec_PROGRAMS += farmsync-agent
farmsync_agent_SOURCES = \
	mod_farmsync/agent/agent.c mod_farmsync/agent/agent.h \
	mod_farmsync/agent/avail.c mod_farmsync/agent/avail.h \
	mod_farmsync/agent/avail_history.c mod_farmsync/agent/avail_http.c \
	mod_farmsync/agent/avail_take.c mod_farmsync/agent/avail_task.h \
	mod_farmsync/agent/avail_tell.c \
	mod_farmsync/agent/backplane.c mod_farmsync/agent/backplane.h \
	mod_farmsync/agent/backplane_internal.h mod_farmsync/agent/backplane_http.c \
	mod_farmsync/agent/backplane_keep.c mod_farmsync/agent/backplane_tell.c \
	mod_farmsync/agent/clock.c \
	mod_farmsync/agent/fetch.c \
	mod_farmsync/agent/follow.c \
	mod_farmsync/agent/group.c \
	mod_farmsync/agent/listen.c mod_farmsync/agent/listen.h \
	mod_farmsync/agent/reply.c mod_farmsync/agent/reply.h \
	mod_farmsync/agent/lock.c mod_farmsync/agent/lock.h \
	mod_farmsync/agent/log.c mod_farmsync/agent/log.h \
	mod_farmsync/agent/main.c \
	mod_farmsync/agent/monitor_probe.c mod_farmsync/agent/monitor_run.c \
	mod_farmsync/agent/parts.c mod_farmsync/agent/parts.h \
	mod_farmsync/agent/peers.c \
	mod_farmsync/agent/promote.c \
	mod_farmsync/agent/report.c \
	mod_farmsync/agent/reuse.c mod_farmsync/agent/reuse.h \
	mod_farmsync/agent/reuse_carry.c mod_farmsync/agent/reuse_carry.h \
	mod_farmsync/agent/route.c mod_farmsync/agent/route.h \
	mod_farmsync/agent/route_check.c \
	mod_farmsync/agent/route_http.c mod_farmsync/agent/route_internal.h \
	mod_farmsync/agent/route_order.c mod_farmsync/agent/route_status.c \
	mod_farmsync/agent/route_visitors.c mod_farmsync/agent/route_visitors.h \
	mod_farmsync/agent/route_visitors_internal.h mod_farmsync/agent/route_visitors_http.c \
	mod_farmsync/agent/saved.c \
	mod_farmsync/agent/session.c mod_farmsync/agent/session.h \
	mod_farmsync/agent/session_ack.c \
	mod_farmsync/agent/session_admin.c mod_farmsync/agent/session_admin.h \
	mod_farmsync/agent/session_admin_act.c mod_farmsync/agent/session_admin_internal.h \
	mod_farmsync/agent/session_ahead.c mod_farmsync/agent/session_ahead.h \
	mod_farmsync/agent/session_alternate.c \
	mod_farmsync/agent/session_ask.c \
	mod_farmsync/agent/session_asked.c mod_farmsync/agent/session_asked.h \
	mod_farmsync/agent/session_compare.c \
	mod_farmsync/agent/session_copy.c mod_farmsync/agent/session_collect.c \
	mod_farmsync/agent/session_leave.c \
	mod_farmsync/agent/session_drain.c \
	mod_farmsync/agent/session_fetch.c \
	mod_farmsync/agent/session_fetch.h \
	mod_farmsync/agent/session_fetch_ask.c \
	mod_farmsync/agent/session_fetch_end.c \
	mod_farmsync/agent/session_fetch_step.c \
	mod_farmsync/agent/session_fetch_waiter.c \
	mod_farmsync/agent/session_listen.c \
	mod_farmsync/agent/session_others.c \
	mod_farmsync/agent/session_owner.c \
	mod_farmsync/agent/session_peer.c \
	mod_farmsync/agent/session_send.c \
	mod_farmsync/agent/session_status.c \
	mod_farmsync/agent/session_up.c \
	mod_farmsync/agent/session_work.c \
	mod_farmsync/agent/sql.c mod_farmsync/agent/sql.h
farmsync_agent_CPPFLAGS = $(AM_CPPFLAGS) $(JANSSON_CFLAGS) $(EVENT_CFLAGS) \
	-DFARMSYNC_VERSION='"$(PACKAGE_VERSION)"'
farmsync_agent_CFLAGS = $(AM_CFLAGS) -pthread
farmsync_agent_LDADD = mod_farmsync/agent/libagent.la lib/reuse/libfs_reuse.la \
	lib/route/libfs_route_share.la lib/route/libfs_route_signed.la lib/route/libfs_route_shared.la lib/route/libfs_route.la \
	lib/sync/libfs_source.la lib/sync/libfs_sync.la lib/net/libfs_sql.la lib/net/libfs_net.la \
	lib/control/libfs_control.la lib/image/libfs_delta.la lib/image/libfs_image.la \
	lib/session/libfs_session.la lib/backplane/libfs_backplane.la lib/avail/libfs_notice.la lib/avail/libfs_avail.la \
	lib/base/libfs_base.la $(EVENT_LIBS) $(JANSSON_LIBS) -lpthread

EXTRA_DIST += doc/agent.md
