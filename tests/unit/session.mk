session_unit_tests = tests/unit/test_session tests/unit/test_session_bank \
	tests/unit/test_session_store tests/unit/test_session_hand tests/unit/test_session_ahead \
	tests/unit/test_session_turn tests/unit/test_session_disk \
	tests/unit/test_session_ownership tests/unit/test_session_take \
	tests/unit/test_session_farm tests/unit/test_session_batch
check_PROGRAMS += $(session_unit_tests)
TESTS += $(session_unit_tests)
session_unit_cppflags = $(AM_CPPFLAGS) $(CHECK_CFLAGS) $(LMDB_CFLAGS)
session_unit_ldadd = lib/session/libfs_session.la $(CHECK_LIBS)

tests_unit_test_session_SOURCES = tests/unit/test_session.c tests/unit/fs_test_session.h \
	tests/unit/fs_test.h
tests_unit_test_session_CPPFLAGS = $(session_unit_cppflags)
tests_unit_test_session_LDADD = $(session_unit_ldadd)

tests_unit_test_session_bank_SOURCES = tests/unit/test_session_bank.c \
	tests/unit/fs_test_session.h tests/unit/fs_test.h
tests_unit_test_session_bank_CPPFLAGS = $(session_unit_cppflags)
tests_unit_test_session_bank_LDADD = $(session_unit_ldadd)

tests_unit_test_session_store_SOURCES = tests/unit/test_session_store.c \
	tests/unit/fs_test_session_store.h tests/unit/fs_test_session.h tests/unit/fs_test.h
tests_unit_test_session_store_CPPFLAGS = $(session_unit_cppflags)
tests_unit_test_session_store_LDADD = $(session_unit_ldadd)

tests_unit_test_session_farm_SOURCES = tests/unit/test_session_farm.c \
	tests/unit/fs_test_session.h tests/unit/fs_test.h
tests_unit_test_session_farm_CPPFLAGS = $(session_unit_cppflags)
tests_unit_test_session_farm_LDADD = $(session_unit_ldadd)

tests_unit_test_session_batch_SOURCES = tests/unit/test_session_batch.c \
	tests/unit/fs_test_session.h tests/unit/fs_test.h
tests_unit_test_session_batch_CPPFLAGS = $(session_unit_cppflags)
tests_unit_test_session_batch_LDADD = $(session_unit_ldadd)

tests_unit_test_session_hand_SOURCES = tests/unit/test_session_hand.c \
	tests/unit/fs_test_session_store.h tests/unit/fs_test_session.h tests/unit/fs_test.h
tests_unit_test_session_hand_CPPFLAGS = $(session_unit_cppflags)
tests_unit_test_session_hand_LDADD = $(session_unit_ldadd)

tests_unit_test_session_ahead_SOURCES = tests/unit/test_session_ahead.c \
	tests/unit/fs_test_session_store.h tests/unit/fs_test_session.h tests/unit/fs_test.h
tests_unit_test_session_ahead_CPPFLAGS = $(session_unit_cppflags)
tests_unit_test_session_ahead_LDADD = $(session_unit_ldadd)

tests_unit_test_session_turn_SOURCES = tests/unit/test_session_turn.c \
	tests/unit/fs_test_session.h tests/unit/fs_test.h
tests_unit_test_session_turn_CPPFLAGS = $(session_unit_cppflags)
tests_unit_test_session_turn_LDADD = $(session_unit_ldadd)

tests_unit_test_session_disk_SOURCES = tests/unit/test_session_disk.c \
	tests/unit/fs_test_session_store.h tests/unit/fs_test_session.h tests/unit/fs_test.h
tests_unit_test_session_disk_CPPFLAGS = $(session_unit_cppflags)
tests_unit_test_session_disk_LDADD = $(session_unit_ldadd)

tests_unit_test_session_ownership_SOURCES = tests/unit/test_session_ownership.c \
	tests/unit/session_sim.c tests/unit/session_sim.h tests/unit/session_sim_host.c \
	tests/unit/session_sim_server.c tests/unit/session_sim_take.c \
	tests/unit/fs_test_session.h tests/unit/fs_test.h
tests_unit_test_session_ownership_CPPFLAGS = $(session_unit_cppflags)
tests_unit_test_session_ownership_LDADD = $(session_unit_ldadd)

tests_unit_test_session_take_SOURCES = tests/unit/test_session_take.c \
	tests/unit/fs_test_session.h tests/unit/fs_test.h
tests_unit_test_session_take_CPPFLAGS = $(session_unit_cppflags)
tests_unit_test_session_take_LDADD = $(session_unit_ldadd)
