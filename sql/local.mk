sqldir = $(pkgdatadir)/sql
dist_sql_DATA = \
	sql/install.sql \
	sql/schema.sql \
	sql/procedures.sql \
	sql/views.sql \
	sql/grants.sql
sqlsampledir = $(sqldir)/sample
dist_sqlsample_DATA = sql/sample/shop.sql
