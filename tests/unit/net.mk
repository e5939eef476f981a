net_unit_tests = tests/unit/test_net tests/unit/test_net_key tests/unit/test_net_parse \
	tests/unit/test_net_server tests/unit/test_net_sql tests/unit/test_net_tls \
	tests/unit/test_net_unix
check_PROGRAMS += $(net_unit_tests)
TESTS += $(net_unit_tests)
net_unit_cppflags = $(AM_CPPFLAGS) $(CHECK_CFLAGS) $(EVENT_CFLAGS) $(CRYPTO_CFLAGS)
net_unit_ldadd = lib/net/libfs_net.la $(CHECK_LIBS)

tests_unit_test_net_SOURCES = tests/unit/test_net.c tests/unit/fs_test_http.h tests/unit/fs_test.h
tests_unit_test_net_CPPFLAGS = $(net_unit_cppflags)
tests_unit_test_net_LDADD = $(net_unit_ldadd)

tests_unit_test_net_key_SOURCES = tests/unit/test_net_key.c tests/unit/fs_test.h
tests_unit_test_net_key_CPPFLAGS = $(net_unit_cppflags)
tests_unit_test_net_key_LDADD = $(net_unit_ldadd)

tests_unit_test_net_parse_SOURCES = tests/unit/test_net_parse.c tests/unit/fs_test.h
tests_unit_test_net_parse_CPPFLAGS = $(net_unit_cppflags)
tests_unit_test_net_parse_LDADD = $(net_unit_ldadd)

tests_unit_test_net_server_SOURCES = tests/unit/test_net_server.c tests/unit/fs_test_http.h \
	tests/unit/fs_test.h
tests_unit_test_net_server_CPPFLAGS = $(net_unit_cppflags)
tests_unit_test_net_server_LDADD = $(net_unit_ldadd)

tests_unit_test_net_sql_SOURCES = tests/unit/test_net_sql.c tests/unit/fs_test.h
tests_unit_test_net_sql_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_test_net_sql_LDADD = lib/net/libfs_sql.la $(CHECK_LIBS)

tests_unit_test_net_tls_SOURCES = tests/unit/test_net_tls.c tests/unit/fs_test_http.h \
	tests/unit/fs_test.h
tests_unit_test_net_tls_CPPFLAGS = $(net_unit_cppflags)
tests_unit_test_net_tls_LDADD = $(net_unit_ldadd)

tests_unit_test_net_unix_SOURCES = tests/unit/test_net_unix.c tests/unit/fs_test_http.h \
	tests/unit/fs_test.h
tests_unit_test_net_unix_CPPFLAGS = $(net_unit_cppflags)
tests_unit_test_net_unix_LDADD = $(net_unit_ldadd)
