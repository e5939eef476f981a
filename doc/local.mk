# Markdown is the documentation and the source of the man pages (pandoc, if it is there, at release time).
FS_DOCS = doc/benchmarks.md doc/cycle.md doc/image-format.md doc/messages.md doc/sql.md
EXTRA_DIST += $(FS_DOCS)
dist_check_SCRIPTS += tests/check_messages.sh
TESTS += tests/check_messages.sh
