# The replicated map and its exchange: pure, without clock, network or threads.
noinst_LTLIBRARIES += lib/backplane/libfs_backplane.la
lib_backplane_libfs_backplane_la_SOURCES = \
	lib/backplane/fs_backplane.h lib/backplane/fs_exchange.h
