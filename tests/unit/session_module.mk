# What of mod_session_farmsync needs no httpd.
check_PROGRAMS += tests/unit/test_session_cookie
TESTS += tests/unit/test_session_cookie
tests_unit_test_session_cookie_SOURCES = tests/unit/test_session_cookie.c tests/unit/fs_test.h \
	mod_farmsync/session_cookie.c
tests_unit_test_session_cookie_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/mod_farmsync $(CHECK_CFLAGS)
tests_unit_test_session_cookie_LDADD = $(CHECK_LIBS) $(APR_LIBS)
