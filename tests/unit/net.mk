net_unit_tests = tests/unit/test_net_key tests/unit/test_net_parse tests/unit/test_net_sql
check_PROGRAMS += $(net_unit_tests)
TESTS += $(net_unit_tests)

tests_unit_test_net_key_SOURCES = tests/unit/test_net_key.c tests/unit/fs_test.h
tests_unit_test_net_key_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_test_net_key_LDADD = lib/net/libfs_net.la $(CHECK_LIBS)

tests_unit_test_net_parse_SOURCES = tests/unit/test_net_parse.c tests/unit/fs_test.h
tests_unit_test_net_parse_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_test_net_parse_LDADD = lib/net/libfs_net.la $(CHECK_LIBS)

tests_unit_test_net_sql_SOURCES = tests/unit/test_net_sql.c tests/unit/fs_test.h
tests_unit_test_net_sql_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_test_net_sql_LDADD = lib/net/libfs_sql.la $(CHECK_LIBS)
