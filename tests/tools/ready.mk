# The unit tests' model of a decision, for test_sql_ready.py to compare the database with.
noinst_PROGRAMS += tests/tools/fs_ready
tests_tools_fs_ready_SOURCES = tests/tools/fs_ready.c tests/unit/ready_model.h
