-- SPDX-License-Identifier: Apache-2.0
-- The procedures of farmsync; to be run in this directory. May be run again at any time: each is replaced.
--
-- For datasrv and agents: promote, promote_image, promote_done, promote_failed, decide, report_members, prune.
-- For operators: add_dataset, add_dataset_with, drop_dataset, show_triggers, show_pending, add_group, drop_group,
--   set_interval, set_lead, set_keep_versions, set_keep_age, hold, resume, activate_now, activate_at, roll_back, pin,
--   unpin, forget_member, add_check, add_reference,
--   drop_check, set_limits, allow_once, dry_run, show_difference, set_approval, request_approval, approve, reject,
--   app_down, app_down_with, app_up, app_up_with. For datasrv also: notice_take, notice_told.
-- The others are their parts, which no account is granted.
--
-- How a promotion reads production. All datasets of a group are read by one INSERT ... SELECT ... UNION
-- ALL: at READ COMMITTED that is one snapshot without locks, so a transaction of the shop over several
-- tables is seen whole or not at all, and its writers never wait. What the statement collects is only
-- what differs from the newest version, in a temporary table (`difference`) whose columns ("slots") are
-- shared by the datasets: the n-th column of a given type of each dataset lies in the same slot, so that
-- 200 datasets don't make a table of 4,000 columns. dataset_column holds for each column the slot, its
-- type (`carrier`) and how it is read; the view column_sql makes SQL of that.
-- Comparison is exact: text by its bytes (so trailing spaces and a change of case count), 0 and -0 differ.
-- FLOAT is carried as DOUBLE of the number that the client would print, if that is the same FLOAT, because
-- SQL prints only six digits of a FLOAT; BIT as integer.
--
-- What a promotion does hold is the tables' metadata: ALTER TABLE of a source waits until it is done.
--
-- No stored functions: with a binary log they need rights that administrators of hosted databases lack.
-- No statement of promote, promote_image and promote_done commits.
SET NAMES utf8mb4;
USE farmsync;
-- The procedures keep this mode. Strict, so that nothing is cut short silently; zero dates and the like,
-- which old tables hold, are carried as they are.
SET @farmsync_old_mode = @@SESSION.sql_mode;
SET SESSION sql_mode = 'STRICT_TRANS_TABLES,STRICT_ALL_TABLES,ALLOW_INVALID_DATES,NO_ENGINE_SUBSTITUTION';

SOURCE procedures/common.sql
SOURCE procedures/ready.sql
SOURCE procedures/changes.sql
SOURCE procedures/schedule.sql
SOURCE procedures/promotion.sql
SOURCE procedures/checks.sql
SOURCE procedures/approval.sql
SOURCE procedures/dry_run.sql
SOURCE procedures/difference.sql
SOURCE procedures/upkeep.sql
SOURCE procedures/versions.sql
SOURCE procedures/dataset_source.sql
SOURCE procedures/datasets.sql
SOURCE procedures/operators.sql
SOURCE procedures/availability.sql

SET SESSION sql_mode = @farmsync_old_mode;
