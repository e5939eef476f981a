EXTRA_DIST += scripts/farm scripts/test scripts/bench scripts/packages.txt scripts/packages-bench.txt doc/install.md \
	scripts/farmlib/htdocs/index.html scripts/farmlib/htdocs/shop.shtml \
	scripts/farmlib/htdocs/visits.lua \
	scripts/farmlib/__init__.py \
	scripts/farmlib/balancer.py \
	scripts/farmlib/bench.py \
	scripts/farmlib/bench_host.py \
	scripts/farmlib/bench_avail.py \
	scripts/farmlib/bench_image.py \
	scripts/farmlib/bench_sessions.py \
	scripts/farmlib/catalogue.py \
	scripts/farmlib/cli.py \
	scripts/farmlib/clock.py \
	scripts/farmlib/counter.py \
	scripts/farmlib/database.py \
	scripts/farmlib/dataserver.py \
	scripts/farmlib/demo.py \
	scripts/farmlib/demo_avail.py \
	scripts/farmlib/demo_ctl.py \
	scripts/farmlib/demo_reuse.py \
	scripts/farmlib/demo_visitors.py \
	scripts/farmlib/ending.py \
	scripts/farmlib/errors.py \
	scripts/farmlib/farm.py \
	scripts/farmlib/httpd.py \
	scripts/farmlib/mariadb.py \
	scripts/farmlib/part.py \
	scripts/farmlib/paths.py \
	scripts/farmlib/ports.py \
	scripts/farmlib/prober.py \
	scripts/farmlib/proc.py \
	scripts/farmlib/progress.py \
	scripts/farmlib/setup.py \
	scripts/farmlib/testing.py \
	scripts/farmlib/user.py

# farmsyncctl: Python that is put on workstations, too; the entry learns where its package lies.
farmctldir = $(pkgdatadir)/farmctl
dist_farmctl_DATA = \
	scripts/farmctl/__init__.py \
	scripts/farmctl/act.py \
	scripts/farmctl/agent.py \
	scripts/farmctl/cli.py \
	scripts/farmctl/command.py \
	scripts/farmctl/database.py \
	scripts/farmctl/errors.py \
	scripts/farmctl/facts.py \
	scripts/farmctl/ical.py \
	scripts/farmctl/notices.py \
	scripts/farmctl/options.py \
	scripts/farmctl/race.py \
	scripts/farmctl/scratch.py \
	scripts/farmctl/snapshot.py \
	scripts/farmctl/snippets.py \
	scripts/farmctl/text.py \
	scripts/farmctl/times.py \
	scripts/farmctl/zones.py
farmctlcommandsdir = $(farmctldir)/commands
dist_farmctlcommands_DATA = \
	scripts/farmctl/commands/__init__.py \
	scripts/farmctl/commands/activate.py \
	scripts/farmctl/commands/acts.py \
	scripts/farmctl/commands/approve.py \
	scripts/farmctl/commands/avail.py \
	scripts/farmctl/commands/check_db.py \
	scripts/farmctl/commands/checks.py \
	scripts/farmctl/commands/cycle.py \
	scripts/farmctl/commands/data.py \
	scripts/farmctl/commands/diagnosis.py \
	scripts/farmctl/commands/diff.py \
	scripts/farmctl/commands/reuse.py \
	scripts/farmctl/commands/routing.py \
	scripts/farmctl/commands/snippet.py \
	scripts/farmctl/commands/sessions.py \
	scripts/farmctl/commands/status.py \
	scripts/farmctl/commands/watch.py
farmctldoctordir = $(farmctldir)/doctor
dist_farmctldoctor_DATA = \
	scripts/farmctl/doctor/__init__.py \
	scripts/farmctl/doctor/groups.py \
	scripts/farmctl/doctor/hosts.py \
	scripts/farmctl/doctor/local.py \
	scripts/farmctl/doctor/members.py \
	scripts/farmctl/doctor/schema.py \
	scripts/farmctl/doctor/sources.py \
	scripts/farmctl/doctor/urls.py
bashcompletiondir = $(datadir)/bash-completion/completions
dist_bashcompletion_DATA = scripts/completion/farmsyncctl
sbin_SCRIPTS = scripts/bin/farmsyncctl
EXTRA_DIST += scripts/farmsyncctl doc/farmsyncctl.md
CLEANFILES += scripts/bin/farmsyncctl
# Compiled now, for who isn't allowed to keep it would wait for it each time; for packages their tools do it.
install-data-local: install-dist_farmctlDATA install-dist_farmctlcommandsDATA install-dist_farmctldoctorDATA
	-test -n "$(DESTDIR)" || /usr/bin/python3 -m compileall -q "$(farmctldir)"
# What Python has compiled.
uninstall-local:
	rm -rf $(DESTDIR)$(farmctldir)/__pycache__ $(DESTDIR)$(farmctlcommandsdir)/__pycache__ \
		$(DESTDIR)$(farmctldoctordir)/__pycache__
scripts/bin/farmsyncctl: $(srcdir)/scripts/farmsyncctl Makefile
	$(AM_V_GEN)$(MKDIR_P) scripts/bin && \
	sed 's|@pkgdatadir[@]|$(pkgdatadir)|' $(srcdir)/scripts/farmsyncctl >$@.new && \
	chmod 755 $@.new && mv $@.new $@
