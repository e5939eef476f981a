sbin_PROGRAMS += datasrv/datasrv
datasrv_datasrv_SOURCES = \
	datasrv/main.c \
	datasrv/server.c datasrv/server.h \
	datasrv/server_parts.c datasrv/server_internal.h \
	datasrv/settings.c datasrv/settings.h \
	datasrv/logfile.c datasrv/logfile.h \
	datasrv/daemon.c datasrv/daemon.h \
	datasrv/agents.c datasrv/agents.h \
	datasrv/bell.c datasrv/bell.h \
	datasrv/crier.c datasrv/crier.h datasrv/relay.c \
	datasrv/published.c datasrv/published.h \
	datasrv/board.c datasrv/board.h \
	datasrv/store.c datasrv/store.h \
	datasrv/deltas.c datasrv/deltas.h \
	datasrv/roster.c datasrv/roster.h \
	datasrv/overview.c datasrv/overview.h \
	datasrv/worker.c datasrv/worker.h datasrv/worker_internal.h \
	datasrv/worker_promote.c datasrv/worker_images.c \
	datasrv/groups.c datasrv/groups.h \
	datasrv/self.c datasrv/self.h \
	datasrv/follower.c datasrv/follower.h \
	datasrv/scribe.c datasrv/scribe.h \
	datasrv/sqlthread.c datasrv/sqlthread.h \
	datasrv/bank.c datasrv/bank.h \
	datasrv/bank_queue.c datasrv/bank_work.c datasrv/bank_service.c \
	datasrv/bank_hosts.c datasrv/bank_hosts.h \
	datasrv/bank_store.c datasrv/bank_store.h \
	datasrv/bank_open.c datasrv/bank_internal.h \
	datasrv/bank_slot.c datasrv/bank_slot.h datasrv/bank_answer.c \
	datasrv/bank_peers.c datasrv/bank_peers.h datasrv/bank_poll.c \
	datasrv/bank_pull.c datasrv/bank_cover.c datasrv/bank_peers_internal.h \
	datasrv/bank_page.c \
	datasrv/service.c datasrv/service.h \
	datasrv/waiters.c \
	datasrv/images.c \
	datasrv/health.c datasrv/health.h \
	datasrv/finding.c datasrv/finding.h \
	datasrv/metrics.c \
	datasrv/dashboard.c \
	datasrv/html.c datasrv/html.h
datasrv_datasrv_CPPFLAGS = $(AM_CPPFLAGS) $(EVENT_CFLAGS) $(JANSSON_CFLAGS) $(LMDB_CFLAGS) \
	-DFS_SYSCONFDIR='"$(sysconfdir)"'
datasrv_datasrv_LDADD = \
	lib/sync/libfs_source.la lib/sync/libfs_sync.la \
	lib/net/libfs_net.la lib/net/libfs_sql.la lib/session/libfs_session.la \
	lib/image/libfs_delta.la lib/image/libfs_image.la lib/base/libfs_base.la \
	$(EVENT_LIBS) $(JANSSON_LIBS) $(LMDB_LIBS) $(CRYPTO_LIBS) $(APR_LIBS) -lpthread

# The unit names the installed path of the program.
systemdsystemunit_DATA = datasrv/farmsync-datasrv.service
datasrv/farmsync-datasrv.service: $(srcdir)/datasrv/farmsync-datasrv.service.in Makefile
	$(AM_V_GEN)mkdir -p datasrv && \
	sed -e 's|[@]sbindir[@]|$(sbindir)|g' -e 's|[@]sysconfdir[@]|$(sysconfdir)|g' \
	    $(srcdir)/datasrv/farmsync-datasrv.service.in >$@.new && mv $@.new $@
CLEANFILES += datasrv/farmsync-datasrv.service

dist_sample_DATA += datasrv/datasrv.conf.sample
EXTRA_DIST += datasrv/farmsync-datasrv.service.in
EXTRA_DIST += doc/datasrv.md tests/farm/test_datasrv.py tests/farm/test_datasrv_delta.py

EXTRA_DIST += tests/farm/test_bank.py tests/farm/bank_client.py

if HAVE_CHECK
check_PROGRAMS += tests/unit/test_datasrv tests/unit/test_bank_store
TESTS += tests/unit/test_datasrv tests/unit/test_bank_store
tests_unit_test_bank_store_SOURCES = tests/unit/test_bank_store.c tests/unit/fs_test.h \
	tests/unit/fs_test_session.h datasrv/bank_store.c datasrv/bank_slot.c datasrv/bank_answer.c \
	datasrv/bank_open.c datasrv/bank_hosts.c
tests_unit_test_bank_store_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir) $(LMDB_CFLAGS) $(CHECK_CFLAGS)
tests_unit_test_bank_store_LDADD = lib/session/libfs_session.la lib/base/libfs_base.la \
	$(LMDB_LIBS) $(CRYPTO_LIBS) $(APR_LIBS) $(CHECK_LIBS)
tests_unit_test_datasrv_SOURCES = tests/unit/test_datasrv.c tests/unit/fs_test.h \
	datasrv/board.c datasrv/daemon.c datasrv/published.c datasrv/roster.c datasrv/settings.c \
	datasrv/store.c
tests_unit_test_datasrv_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir) $(CHECK_CFLAGS)
tests_unit_test_datasrv_LDADD = lib/sync/libfs_sync.la lib/image/libfs_image.la lib/base/libfs_base.la $(JANSSON_LIBS) \
	$(CHECK_LIBS)
endif
