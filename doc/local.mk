# Markdown is the documentation and the source of the man pages.
FS_DOCS = doc/availability.md doc/backplane.md doc/benchmarks.md doc/cycle.md doc/farmsync-image.md doc/farmsync-sim.md doc/image-format.md doc/messages.md doc/metrics.md doc/reuse.md doc/routing.md doc/session-module.md doc/sessions.md doc/sql.md
EXTRA_DIST += $(FS_DOCS)
dist_check_SCRIPTS += tests/check_messages.sh tests/check_man_pages.sh
TESTS += tests/check_messages.sh tests/check_man_pages.sh

# A release carries the pages, so that only who builds from the repository needs pandoc.
if MAN_PAGES
dist_man_MANS += doc/datasrv.8 doc/farmsync-agent.8 doc/farmsync-image.1 doc/farmsync-sim.1 doc/farmsyncctl.8
MAINTAINERCLEANFILES = $(dist_man_MANS)
FS_MAN = $(AM_V_GEN)mkdir -p doc && $(PANDOC) --standalone --from markdown-smart --to man

doc/datasrv.8: doc/datasrv.md
	$(FS_MAN) --output $@ $(srcdir)/doc/datasrv.md
doc/farmsync-agent.8: doc/agent.md
	$(FS_MAN) --output $@ $(srcdir)/doc/agent.md
doc/farmsync-image.1: doc/farmsync-image.md
	$(FS_MAN) --output $@ $(srcdir)/doc/farmsync-image.md
doc/farmsync-sim.1: doc/farmsync-sim.md
	$(FS_MAN) --output $@ $(srcdir)/doc/farmsync-sim.md
doc/farmsyncctl.8: doc/farmsyncctl.md
	$(FS_MAN) --output $@ $(srcdir)/doc/farmsyncctl.md
endif
