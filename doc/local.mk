# Markdown is the documentation and the source of the man pages (pandoc, if it is there, at release time).
FS_DOCS = doc/cycle.md
EXTRA_DIST += $(FS_DOCS)
