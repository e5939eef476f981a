sqldir = $(pkgdatadir)/sql
dist_sql_DATA = \
	sql/install.sql \
	sql/schema.sql \
	sql/procedures.sql \
	sql/views.sql \
	sql/grants.sql
sqlproceduresdir = $(sqldir)/procedures
dist_sqlprocedures_DATA = \
	sql/procedures/changes.sql \
	sql/procedures/approval.sql \
	sql/procedures/availability.sql \
	sql/procedures/checks.sql \
	sql/procedures/common.sql \
	sql/procedures/difference.sql \
	sql/procedures/dry_run.sql \
	sql/procedures/promotion.sql \
	sql/procedures/ready.sql \
	sql/procedures/schedule.sql \
	sql/procedures/upkeep.sql \
	sql/procedures/versions.sql \
	sql/procedures/dataset_source.sql \
	sql/procedures/datasets.sql \
	sql/procedures/operators.sql
sqlsampledir = $(sqldir)/sample
dist_sqlsample_DATA = sql/sample/shop.sql
EXTRA_DIST += \
	tests/farm/sql_fixtures.py \
	tests/farm/test_sql_changes.py \
	tests/farm/test_sql_cycle.py \
	tests/farm/test_sql_datasets.py \
	tests/farm/test_sql_promotion.py
