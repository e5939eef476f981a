noinst_HEADERS += lib/sync/fs_farm_clock.h lib/sync/fs_cycle.h lib/sync/fs_manifest.h lib/sync/fs_source.h lib/sync/fs_retrieve.h lib/sync/fs_transport.h
