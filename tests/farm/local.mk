# Run by scripts/test on real processes; not part of make check.
EXTRA_DIST += tests/check_messages.sh \
	tests/farm/agree.lua \
	tests/farm/agreeing.py \
	tests/farm/conftest.py \
	tests/farm/lone_httpd.py \
	tests/farm/mod_foreign.c \
	tests/farm/sql_fixtures.py \
	tests/farm/test_agent.py \
	tests/farm/test_agent_process.py \
	tests/farm/test_c_api.py \
	tests/farm/test_cli.py \
	tests/farm/test_clock.py \
	tests/farm/test_delta.py \
	tests/farm/test_failures.py \
	tests/farm/test_incremental.py \
	tests/farm/test_load.py \
	tests/farm/test_module.py \
	tests/farm/test_roll_back.py \
	tests/farm/test_samples.py \
	tests/farm/test_operation.py \
	tests/farm/test_schedule.py \
	tests/farm/test_scripts.py \
	tests/farm/test_source.py \
	tests/farm/test_sql_approval.py \
	tests/farm/test_sql_audit.py \
	tests/farm/test_sql_checks.py \
	tests/farm/test_sql_cycle.py \
	tests/farm/test_sql_datasets.py \
	tests/farm/test_sql_changes.py \
	tests/farm/test_sql_promotion.py \
	tests/farm/test_sql_schedule.py \
	tests/farm/test_sql_versions.py \
	tests/farm/test_switch.py \
	tests/farm/test_valgrind.py
