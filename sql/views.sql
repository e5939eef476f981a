-- SPDX-License-Identifier: Apache-2.0
-- The views of farmsync. May be run again at any time.
SET NAMES utf8mb4;
USE farmsync;

-- A dataset's columns as SQL: `p` is the source, `d` the version table. For procedures.sql.
CREATE OR REPLACE DEFINER = 'farmsync'@'localhost' SQL SECURITY DEFINER VIEW column_sql AS
SELECT x.dataset, x.place, x.key_place, x.slot, x.carrier, x.quoted, x.read_sql,
       CASE
         WHEN x.read_as IN ('double', 'float') THEN CONCAT('(', x.read_sql, ' <=> d.', x.quoted, ' AND (d.',
           x.quoted, ' <> 0 OR d.', x.quoted, ' IS NULL OR CAST(', x.read_sql, ' AS CHAR) = CAST(d.', x.quoted,
           ' AS CHAR)))')
         WHEN x.read_as = 'text' THEN CONCAT('CAST(CONVERT(p.', x.quoted, ' USING utf8mb4) AS BINARY) <=> ',
           'CAST(CONVERT(d.', x.quoted, ' USING utf8mb4) AS BINARY)')
         ELSE CONCAT(x.read_sql, ' <=> d.', x.quoted)
       END AS same_sql, x.name
  FROM (SELECT c.dataset, c.place, c.key_place, c.slot, c.carrier, c.read_as, c.name, c.quoted,
               CASE c.read_as
                 WHEN 'number' THEN CONCAT('(p.', c.quoted, ' + 0)')
                 WHEN 'float' THEN CONCAT('CASE WHEN CAST(CAST(p.', c.quoted, ' AS CHAR) AS FLOAT) = p.', c.quoted,
                   ' THEN CAST(p.', c.quoted, ' AS CHAR) + 0e0 ELSE p.', c.quoted, ' + 0e0 END')
                 ELSE CONCAT('p.', c.quoted)
               END AS read_sql
          FROM (SELECT dataset, place, key_place, slot, carrier, read_as, name,
                       CONCAT('`', REPLACE(name, '`', '``'), '`') AS quoted
                  FROM dataset_column) AS c) AS x;

-- For programs: times as microseconds since 1970 UTC. Of a group that waits `activation_us` is a plan, no order.
CREATE OR REPLACE DEFINER = 'farmsync'@'localhost' SQL SECURITY DEFINER VIEW sync_us AS
SELECT group_name, version, active_version, epoch,
       IF(state = 'waiting' AND activation_time <= '9999-01-01', 'running', state) AS state,
       COALESCE(pinned_version, 0) AS pinned_version, reason,
       TIMESTAMPDIFF(MICROSECOND, '1970-01-01 00:00:00',
                     IF(state = 'waiting' AND activation_time > '9999-01-01', planned_time, activation_time))
         AS activation_us,
       TIMESTAMPDIFF(MICROSECOND, '1970-01-01 00:00:00', grid_time) AS grid_us,
       CAST(sync_interval * 1000000 AS SIGNED) AS interval_us,
       CAST(min_lead * 1000000 AS SIGNED) AS lead_us,
       TIMESTAMPDIFF(MICROSECOND, '1970-01-01 00:00:00', UTC_TIMESTAMP(6)) AS now_us
  FROM sync;

-- For people: the datasets, how their changes are found, and the columns of their schedules.
CREATE OR REPLACE DEFINER = 'farmsync'@'localhost' SQL SECURITY DEFINER VIEW datasets AS
SELECT d.name, d.group_name, ELT(d.dropped + 1, 'in use', 'dropped', 'being added') AS state, d.source, d.key_columns,
       CASE c.how WHEN 'column' THEN CONCAT('column ', c.change_column) WHEN 'triggers' THEN 'triggers' ELSE 'full' END
         AS changes,
       c.full_every AS full_every_s, c.full_at AS last_full, COALESCE(c.problem, '') AS problem, d.activate_column,
       d.expire_column
  FROM dataset d LEFT JOIN dataset_changes c ON c.dataset = d.name;

-- For people and `decide`: the servers of each group that count while a version waits, and what each lacks yet, ''
-- if it is ready: has retrieved and verified that very content, knows farm time, has no problem and said so just
-- now. A server counts until it has been silent for as long as an activation is put off (60 s at least), or is
-- forgotten. That
-- what it serves now isn't right (FS0601 to FS0603) doesn't count: the version that waits mends it.
CREATE OR REPLACE DEFINER = 'farmsync'@'localhost' SQL SECURITY DEFINER VIEW readiness AS
SELECT m.group_name, m.name, s.version,
       CASE
         WHEN m.seen < UTC_TIMESTAMP(6) - INTERVAL 5 SECOND
           THEN CONCAT('silent for ', TIMESTAMPDIFF(SECOND, m.seen, UTC_TIMESTAMP(6)), ' s')
         WHEN m.version_staged <> s.version OR m.digest_staged <> s.staged_digest
           THEN CONCAT('retrieving', IF(m.problem = '', '', CONCAT(', ', LEFT(m.problem, 6))))
         WHEN m.problem <> '' AND LEFT(m.problem, 6) NOT IN ('FS0601', 'FS0602', 'FS0603')
           THEN CONCAT('has problem ', LEFT(m.problem, 6))
         WHEN m.clock_bound_us IS NULL THEN 'doesn''t know farm time'
         ELSE ''
       END AS lacks, m.clock_bound_us
  FROM sync s JOIN member m ON m.group_name = s.group_name
 WHERE m.kind = 'agent' AND m.seen >= UTC_TIMESTAMP(6) - INTERVAL GREATEST(s.ready_limit, 60) SECOND
   AND s.planned_time IS NOT NULL AND s.activation_time > '9999-01-01';

-- For people: each group's cycle. All times are UTC.
CREATE OR REPLACE DEFINER = 'farmsync'@'localhost' SQL SECURITY DEFINER VIEW cycle AS
SELECT group_name, IF(pinned_version IS NULL, state, 'pinned') AS state,
       IF(UTC_TIMESTAMP(6) < activation_time, active_version, version) AS in_force,
       IF(UTC_TIMESTAMP(6) < activation_time AND version <> active_version, version, NULL) AS staged,
       IF(activation_time > '9999-01-01', planned_time, activation_time) AS next_activation,
       CAST(TIMESTAMPDIFF(MICROSECOND, UTC_TIMESTAMP(6),
         IF(activation_time > '9999-01-01', planned_time, activation_time)) / 1000000 AS DECIMAL(14,1)) AS seconds_left,
       sync_interval AS interval_s, LEAST(min_lead, CAST(sync_interval / 2 AS DECIMAL(14,3))) AS lead_s,
       wanted_time AS wanted_activation, promoted_by AS last_promotion_by, promoted_at AS last_promotion_at, reason,
       pinned_version AS pinned, return_to AS rolls_back_to,
       COALESCE(CONCAT(NULLIF(ready_percent, 100), ' %'), IF(ready_percent = 100, 'all', 'time')) AS ready_policy,
       (SELECT CONCAT(SUM(r.lacks = ''), ' of ', COUNT(*)) FROM readiness r WHERE r.group_name = sync.group_name
         HAVING COUNT(*) > 0) AS ready,
       (SELECT GROUP_CONCAT(r.name, ' (', r.lacks, ')' ORDER BY r.name SEPARATOR '; ') FROM readiness r
         WHERE r.group_name = sync.group_name AND r.lacks <> '') AS waits_for
  FROM sync;

-- For people: who is on the farm, what each server has, and what is wrong with it.
CREATE OR REPLACE DEFINER = 'farmsync'@'localhost' SQL SECURITY DEFINER VIEW farm AS
SELECT m.name, m.kind, m.group_name, m.address,
       CASE
         WHEN m.seen < UTC_TIMESTAMP(6) - INTERVAL 15 SECOND THEN 'silent'
         WHEN m.problem <> '' THEN 'problem'
         WHEN m.kind <> 'agent' THEN 'ok'
         WHEN UTC_TIMESTAMP(6) >= s.activation_time AND m.version_active < s.version AND m.version_staged < s.version
           THEN 'late'
         WHEN UTC_TIMESTAMP(6) < s.activation_time AND m.version_active < s.active_version THEN 'late'
         WHEN UTC_TIMESTAMP(6) < s.activation_time AND m.version_staged < s.version THEN 'retrieving'
         ELSE 'ok'
       END AS state,
       m.version_active, m.version_staged,
       IF(UTC_TIMESTAMP(6) < s.activation_time, s.active_version, s.version) AS in_force, s.version AS staged,
       CAST(TIMESTAMPDIFF(MICROSECOND, m.seen, UTC_TIMESTAMP(6)) / 1000000 AS DECIMAL(14,1)) AS seen_s_ago,
       CAST(m.clock_offset_us / 1000 AS DECIMAL(16,3)) AS clock_offset_ms,
       CAST(m.clock_bound_us / 1000 AS DECIMAL(16,3)) AS clock_bound_ms, m.clock_source, m.problem,
       s.pinned_version AS pinned
  FROM member m LEFT JOIN sync s ON s.group_name = m.group_name;

-- For people: the versions that are kept.
CREATE OR REPLACE DEFINER = 'farmsync'@'localhost' SQL SECURITY DEFINER VIEW versions AS
SELECT i.group_name, i.version,
       CASE
         WHEN i.version = IF(UTC_TIMESTAMP(6) < s.activation_time, s.active_version, s.version) THEN 'in force'
         WHEN i.version = s.version THEN 'staged'
         ELSE 'old'
       END AS state,
       IF(i.version = s.pinned_version, 'pinned', '') AS pinned,
       h.at AS promoted_at, h.who AS promoted_by, h.rows_changed, h.detail,
       COUNT(*) AS datasets, CAST(SUM(i.row_count) AS SIGNED) AS total_rows, CAST(SUM(i.bytes) AS SIGNED) AS bytes
  FROM image i JOIN sync s ON s.group_name = i.group_name
  LEFT JOIN history h ON h.group_name = i.group_name AND h.action IN ('promote', 'roll_back')
   AND h.version = i.version
 GROUP BY i.group_name, i.version, s.activation_time, s.active_version, s.version, s.pinned_version, h.at, h.who, h.rows_changed,
       h.detail;

-- For people: what a version must pass before it is staged.
CREATE OR REPLACE DEFINER = 'farmsync'@'localhost' SQL SECURITY DEFINER VIEW checks AS
SELECT d.group_name, d.name AS dataset, n.name, n.kind,
       CASE n.name
         WHEN 'min_rows' THEN COALESCE(CONCAT('at least ', l.min_rows, ' rows'), 'not empty, if it had 5 rows or more')
         WHEN 'max_gone' THEN CONCAT('at most ', COALESCE(l.max_gone, 50) + 0e0, ' % of the rows gone, from ',
                                     COALESCE(l.small, 20), ' rows on')
         ELSE COALESCE(CONCAT('at most ', l.max_changed + 0e0, ' % of the rows changed, from ', COALESCE(l.small, 20),
                              ' rows on'), 'no limit')
       END AS rule,
       CAST(NULL AS DATETIME(6)) AS added_at, '' AS added_by
  FROM dataset d
  JOIN (SELECT 'min_rows' AS name, 'limit' AS kind UNION ALL SELECT 'max_gone', 'limit' UNION ALL SELECT 'max_changed', 'limit') AS n
  LEFT JOIN dataset_limits l ON l.dataset = d.name
 WHERE d.dropped = 0
 UNION ALL
SELECT d.group_name, c.dataset, c.name, c.kind, c.expression, c.added_at, c.added_by
  FROM dataset_check c JOIN dataset d ON d.name = c.dataset WHERE d.dropped = 0;

-- For people: which groups need approval, what was requested and approved, and who lets the next version break limits.
CREATE OR REPLACE DEFINER = 'farmsync'@'localhost' SQL SECURITY DEFINER VIEW approval AS
SELECT s.group_name, IF(COALESCE(g.approval, 0), 'on', 'off') AS approval, g.waits_for, g.requested, g.requested_by,
       g.requested_at, g.approved_by, g.approved_at,
       IF(g.allowed_at > UTC_TIMESTAMP(6) - INTERVAL 1 DAY, g.allowed_by, NULL) AS limits_allowed_by
  FROM sync s LEFT JOIN group_gate g ON g.group_name = s.group_name;

-- `pending` (what the next promotion would change) has a line per dataset: made by make_pending. The views of
-- datasets that are there are made anew, in case their form has changed.
DROP PROCEDURE IF EXISTS make_all_views;
DELIMITER //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE make_all_views()
  MODIFIES SQL DATA
BEGIN
  DECLARE v_done INT DEFAULT 0;
  DECLARE v_name VARCHAR(64);
  DECLARE v_each CURSOR FOR SELECT name FROM dataset WHERE dropped = 0;
  DECLARE CONTINUE HANDLER FOR NOT FOUND SET v_done = 1;
  OPEN v_each;
  each_dataset: LOOP
    FETCH v_each INTO v_name;
    IF v_done THEN
      LEAVE each_dataset;
    END IF;
    BEGIN
      -- A source that is gone must not stop an upgrade; show_pending tells of it.
      DECLARE CONTINUE HANDLER FOR SQLEXCEPTION BEGIN END;
      CALL make_views(v_name);
    END;
  END LOOP;
  CLOSE v_each;
  CALL make_pending();
END //
DELIMITER ;
CALL make_all_views();
DROP PROCEDURE make_all_views;

-- For people: what was said of applications' availability through this database, newest first, and who was told.
CREATE OR REPLACE DEFINER = 'farmsync'@'localhost' SQL SECURITY DEFINER VIEW notices AS
SELECT n.id, n.application, n.act, n.state,
       JSON_UNQUOTE(JSON_EXTRACT(n.body, '$.reason')) AS reason, JSON_UNQUOTE(JSON_EXTRACT(n.body, '$.from')) AS starts,
       JSON_UNQUOTE(JSON_EXTRACT(n.body, '$.until')) AS ends,
       JSON_UNQUOTE(COALESCE(JSON_EXTRACT(n.body, '$.message'), JSON_EXTRACT(n.body, '$.messages'))) AS message,
       n.who, n.at, n.told_at, n.told_by,
       IF(n.state = 'waiting' AND n.answer = '', 'no data server has passed it on yet', n.answer) AS answer
  FROM notice n ORDER BY n.id DESC;
