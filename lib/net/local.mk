noinst_HEADERS += lib/net/fs_key.h lib/net/fs_http_client.h lib/net/fs_http_server.h lib/net/fs_sql.h
