# SQL is a library of its own, so that what needs only HTTP doesn't link the connector.
# What reads the files with secrets needs neither: httpd's configtest uses it.
noinst_LTLIBRARIES += lib/net/libfs_net.la lib/net/libfs_sql.la lib/net/libfs_secret.la
lib_net_libfs_secret_la_SOURCES = \
	lib/net/fs_key.c lib/net/fs_key.h \
	lib/net/fs_sql_options.c lib/net/fs_sql_options.h
lib_net_libfs_secret_la_CPPFLAGS = $(AM_CPPFLAGS) $(CRYPTO_CFLAGS)
lib_net_libfs_secret_la_LIBADD = $(CRYPTO_LIBS)

lib_net_libfs_net_la_SOURCES = \
	lib/net/fs_http_client.c lib/net/fs_http_client.h \
	lib/net/fs_http_transfer.c lib/net/fs_http_transfer.h \
	lib/net/fs_http_fan.c lib/net/fs_http_fan.h \
	lib/net/fs_http_server.c lib/net/fs_http_server.h \
	lib/net/fs_http_connection.c lib/net/fs_http_admit.c lib/net/fs_http_internal.h \
	lib/net/fs_http_call.c lib/net/fs_http_tls.c \
	lib/net/fs_http_parse.c lib/net/fs_http_parse.h
lib_net_libfs_net_la_CPPFLAGS = $(AM_CPPFLAGS) $(CURL_CFLAGS) $(EVENT_CFLAGS) $(CRYPTO_CFLAGS) \
	$(JANSSON_CFLAGS)
lib_net_libfs_net_la_LIBADD = lib/net/libfs_secret.la lib/base/libfs_base.la $(CURL_LIBS) $(EVENT_LIBS) $(CRYPTO_LIBS) \
	$(JANSSON_LIBS)

lib_net_libfs_sql_la_SOURCES = \
	lib/net/fs_sql.c lib/net/fs_sql.h \
	lib/net/fs_sql_format.c lib/net/fs_sql_format.h
lib_net_libfs_sql_la_CPPFLAGS = $(AM_CPPFLAGS) $(MYSQL_CFLAGS)
lib_net_libfs_sql_la_LIBADD = lib/net/libfs_secret.la lib/base/libfs_base.la $(MYSQL_LIBS)
