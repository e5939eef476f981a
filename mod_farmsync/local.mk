# mod_farmsync.so: what runs in the request processes. Links only base, image and control.
apachemod_LTLIBRARIES += mod_farmsync/mod_farmsync.la
mod_farmsync_mod_farmsync_la_SOURCES = \
	mod_farmsync/mod_farmsync.c mod_farmsync/module.h \
	mod_farmsync/settings.c mod_farmsync/settings.h mod_farmsync/settings_read.c \
	mod_farmsync/agent_process.c mod_farmsync/agent_process.h \
	mod_farmsync/child.c mod_farmsync/child.h \
	mod_farmsync/view.c mod_farmsync/view.h \
	mod_farmsync/data.c mod_farmsync/data.h \
	mod_farmsync/expr.c mod_farmsync/expr.h mod_farmsync/rewritemap.c \
	mod_farmsync/api.c mod_farmsync/api.h \
	mod_farmsync/avail.h mod_farmsync/avail_request.c \
	mod_farmsync/avail_settings.c mod_farmsync/avail_settings.h \
	mod_farmsync/avail_state.c mod_farmsync/avail_state.h \
	mod_farmsync/avail_snapshot.c mod_farmsync/avail_snapshot.h \
	mod_farmsync/avail_condition.c mod_farmsync/avail_condition.h \
	mod_farmsync/avail_accept.c mod_farmsync/avail_accept.h \
	mod_farmsync/avail_answer.c mod_farmsync/avail_answer.h mod_farmsync/avail_status.c \
	mod_farmsync/monitors.c mod_farmsync/monitors.h \
	mod_farmsync/parts.c mod_farmsync/parts.h mod_farmsync/parts_own.h \
	mod_farmsync/place.c mod_farmsync/place.h \
	mod_farmsync/reuse.c mod_farmsync/reuse.h mod_farmsync/reuse_settings.c \
	mod_farmsync/reuse_page.c mod_farmsync/reuse_request.c mod_farmsync/reuse_status.c \
	mod_farmsync/reuse_tag.c mod_farmsync/reuse_known.c mod_farmsync/reuse_difference.c mod_farmsync/reuse_digest.c \
	mod_farmsync/reuse_mirror.c \
	mod_farmsync/request.c mod_farmsync/request.h \
	mod_farmsync/route.h mod_farmsync/route_host.c mod_farmsync/route_visit.c \
	mod_farmsync/route_arrive.c mod_farmsync/route_decide.c mod_farmsync/route_send.c \
	mod_farmsync/route_request.c mod_farmsync/route_status.c \
	mod_farmsync/route_settings.c mod_farmsync/route_settings.h \
	mod_farmsync/route_settings_read.c \
	mod_farmsync/session_cookie.c mod_farmsync/session_cookie.h \
	mod_farmsync/handler_data.c mod_farmsync/handler_data.h \
	mod_farmsync/facts.c mod_farmsync/facts.h \
	mod_farmsync/status.c mod_farmsync/status.h \
	mod_farmsync/status_json.c mod_farmsync/status_metrics.c mod_farmsync/server_status.c \
	mod_farmsync/text.c mod_farmsync/text.h
mod_farmsync_mod_farmsync_la_CPPFLAGS = $(AM_CPPFLAGS) $(HTTPD_CPPFLAGS) \
	-DFS_RELEASE=\"$(PACKAGE_VERSION)\" -DFS_AGENT_PATH=\"$(libexecdir)/farmsync-agent\"
mod_farmsync_mod_farmsync_la_LDFLAGS = -module -avoid-version -shared \
	-export-symbols-regex '^farmsync_module$$'
mod_farmsync_mod_farmsync_la_LIBADD = lib/avail/libfs_avail.la lib/control/libfs_control.la lib/image/libfs_image.la \
	lib/reuse/libfs_reuse.la lib/route/libfs_route_shared.la lib/route/libfs_route_signed.la \
	lib/net/libfs_secret.la $(APR_LIBS) $(CRYPTO_LIBS) $(XXHASH_LIBS) $(LMDB_LIBS)

# mod_session_farmsync.so: sessions, a provider of mod_session.
apachemod_LTLIBRARIES += mod_farmsync/mod_session_farmsync.la
mod_farmsync_mod_session_farmsync_la_SOURCES = \
	mod_farmsync/mod_session_farmsync.c mod_farmsync/session_module.h \
	mod_farmsync/session_settings.c mod_farmsync/session_settings.h \
	mod_farmsync/session_cookie.c mod_farmsync/session_cookie.h \
	mod_farmsync/session_counters.c mod_farmsync/session_counters.h \
	mod_farmsync/session_say.c mod_farmsync/session_say.h \
	mod_farmsync/session_host.c mod_farmsync/session_host.h \
	mod_farmsync/session_alternate.c mod_farmsync/session_alternate.h \
	mod_farmsync/session_ask.c mod_farmsync/session_ask.h \
	mod_farmsync/session_request.c mod_farmsync/session_request.h mod_farmsync/session_find.c \
	mod_farmsync/session_change.c mod_farmsync/session_change.h \
	mod_farmsync/session_reply.c mod_farmsync/session_reply.h \
	mod_farmsync/session_put.c mod_farmsync/session_put.h mod_farmsync/session_save.c \
	mod_farmsync/session_rest.c mod_farmsync/session_rest.h \
	mod_farmsync/session_json.c mod_farmsync/session_json.h \
	mod_farmsync/session_status.c mod_farmsync/session_status.h \
	mod_farmsync/session_visitor.c mod_farmsync/session_visitor.h \
	mod_farmsync/place.c mod_farmsync/place.h \
	mod_farmsync/parts.h mod_farmsync/text.c mod_farmsync/text.h
mod_farmsync_mod_session_farmsync_la_CPPFLAGS = $(AM_CPPFLAGS) $(HTTPD_CPPFLAGS) $(CRYPTO_CFLAGS) \
	$(JANSSON_CFLAGS)
mod_farmsync_mod_session_farmsync_la_LDFLAGS = -module -avoid-version -shared \
	-export-symbols-regex '^session_farmsync_module$$'
mod_farmsync_mod_session_farmsync_la_LIBADD = lib/session/libfs_session.la \
	lib/net/libfs_secret.la $(APR_LIBS) $(CRYPTO_LIBS) $(JANSSON_LIBS)

# mod_proxy_farmsync.so: what of routing needs mod_proxy.
apachemod_LTLIBRARIES += mod_farmsync/mod_proxy_farmsync.la
mod_farmsync_mod_proxy_farmsync_la_SOURCES = \
	mod_farmsync/mod_proxy_farmsync.c mod_farmsync/proxy_module.h \
	mod_farmsync/proxy_forward.c mod_farmsync/proxy_forward.h \
	mod_farmsync/proxy_workers.c mod_farmsync/proxy_workers.h \
	mod_farmsync/proxy_body.c mod_farmsync/proxy_body.h \
	mod_farmsync/proxy_balancer.c mod_farmsync/proxy_balancer.h \
	mod_farmsync/proxy_page.c mod_farmsync/proxy_page.h \
	mod_farmsync/proxy_status.c mod_farmsync/proxy_status.h \
	mod_farmsync/parts.h
mod_farmsync_mod_proxy_farmsync_la_CPPFLAGS = $(AM_CPPFLAGS) $(HTTPD_CPPFLAGS)
mod_farmsync_mod_proxy_farmsync_la_LDFLAGS = -module -avoid-version -shared \
	-export-symbols-regex '^proxy_farmsync_module$$'
mod_farmsync_mod_proxy_farmsync_la_LIBADD = lib/route/libfs_route_shared.la \
	lib/control/libfs_control.la lib/image/libfs_image.la $(APR_LIBS) $(XXHASH_LIBS)

include_HEADERS += mod_farmsync/mod_farmsync.h
EXTRA_DIST += doc/configuration.md
dist_sample_DATA += mod_farmsync/farmsync.conf.sample
dist_check_SCRIPTS += tests/check_directives.sh
TESTS += tests/check_directives.sh

include mod_farmsync/agent/local.mk

# httpd loads the .so; libtool's description of it would only lie beside it.
install-data-hook:
	rm -f $(DESTDIR)$(apachemoddir)/mod_farmsync.la $(DESTDIR)$(apachemoddir)/mod_session_farmsync.la \
		$(DESTDIR)$(apachemoddir)/mod_proxy_farmsync.la
uninstall-hook:
	rm -f $(DESTDIR)$(apachemoddir)/mod_farmsync.so $(DESTDIR)$(apachemoddir)/mod_session_farmsync.so \
		$(DESTDIR)$(apachemoddir)/mod_proxy_farmsync.so
