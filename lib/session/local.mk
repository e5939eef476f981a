# Sessions: what both httpd's children and the agent and datasrv use, so without a network.
noinst_LTLIBRARIES += lib/session/libfs_session.la
lib_session_libfs_session_la_SOURCES = \
	lib/session/fs_session_id.c lib/session/fs_session_id.h \
	lib/session/fs_session_record.c lib/session/fs_session_record.h \
	lib/session/fs_session_record_read.c lib/session/fs_session_record_internal.h \
	lib/session/fs_session_merge.c lib/session/fs_session_merge.h \
	lib/session/fs_session_mix.h \
	lib/session/fs_session_bank.c lib/session/fs_session_bank.h \
	lib/session/fs_session_offer.c lib/session/fs_session_offer.h \
	lib/session/fs_session_ask.c lib/session/fs_session_ask.h \
	lib/session/fs_session_bell.c lib/session/fs_session_bell.h \
	lib/session/fs_session_digest.c lib/session/fs_session_digest.h \
	lib/session/fs_session_seal.c lib/session/fs_session_seal.h \
	lib/session/fs_session_batch.c lib/session/fs_session_batch.h \
	lib/session/fs_session_pending.c lib/session/fs_session_pending.h \
	lib/session/fs_session_map.c lib/session/fs_session_map.h \
	lib/session/fs_session_trust.c lib/session/fs_session_trust.h \
	lib/session/fs_session_turn.c lib/session/fs_session_turn.h \
	lib/session/fs_session_take.c lib/session/fs_session_take.h \
	lib/session/fs_session_lease.c lib/session/fs_session_lease.h \
	lib/session/fs_session_resync.c lib/session/fs_session_resync.h \
	lib/session/fs_session_store.c lib/session/fs_session_store.h \
	lib/session/fs_session_slot.c lib/session/fs_session_store_internal.h \
	lib/session/fs_session_env.c lib/session/fs_session_store_prepare.c \
	lib/session/fs_session_store_change.c lib/session/fs_session_store_write.c \
	lib/session/fs_session_store_ahead.c \
	lib/session/fs_session_held.c lib/session/fs_session_held.h \
	lib/session/fs_session_store_hand.c lib/session/fs_session_store_scan.c
lib_session_libfs_session_la_CPPFLAGS = $(AM_CPPFLAGS) $(CRYPTO_CFLAGS) $(LMDB_CFLAGS)
lib_session_libfs_session_la_LIBADD = lib/base/libfs_lmdb.la lib/base/libfs_base.la $(CRYPTO_LIBS) $(LMDB_LIBS) $(APR_LIBS)
