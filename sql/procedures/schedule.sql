-- SPDX-License-Identifier: Apache-2.0
-- Scheduled data: a source with a column that says from when a row counts (activate_column), until when
-- (expire_column), or both; NULL is always. Of the rows of a key the newest one that is due counts, so an older
-- one comes back when a newer one has expired.
--
-- A version holds what is right at one moment, T (sync.content_time): a promotion chooses T before it reads
-- production, and T becomes the activation time. promote_time chooses
--   the next activation as without a schedule, unless
--   a change comes before it, or so soon after it that it would have no lead of its own: then just that moment;
--   as soon as the lead allows, if a change has come due since the T before, which nobody could announce in time.
-- What comes before its promotion can announce it is reported in history and in sync.reason (late_changes).
--
-- Two kinds of moments are a change: a row begins, or a row ends that was the newest one due just before.
-- Loaded by ../procedures.sql, which sets the mode that procedures keep.
DELIMITER //

-- The schedule's columns as SQL, of alias p_alias; 'NULL' for a column that isn't there. p_any_zone: also right
-- where the session's time zone isn't UTC, as in a view, but then no index helps.
DROP PROCEDURE IF EXISTS schedule_columns //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE schedule_columns(
  IN p_name VARCHAR(64), IN p_alias VARCHAR(4), IN p_any_zone TINYINT, OUT p_activate TEXT, OUT p_expire TEXT)
  READS SQL DATA
BEGIN
  DECLARE v_head, v_tail TEXT;
  DECLARE v_activate_type, v_expire_type VARCHAR(16);
  SELECT MAX(CONCAT(p_alias, '.`', REPLACE(activate_column, '`', '``'), '`')),
         MAX(CONCAT(p_alias, '.`', REPLACE(expire_column, '`', '``'), '`')),
         MAX(JSON_UNQUOTE(JSON_EXTRACT(schedule_types, '$.activate'))),
         MAX(JSON_UNQUOTE(JSON_EXTRACT(schedule_types, '$.expire')))
    INTO p_activate, p_expire, v_activate_type, v_expire_type FROM dataset WHERE name = p_name;
  IF p_any_zone THEN
    SET v_head = 'TIMESTAMPADD(MICROSECOND, CAST(UNIX_TIMESTAMP(';
    SET v_tail = ') * 1000000 AS SIGNED), TIMESTAMP''1970-01-01 00:00:00'')';
    SET p_activate = IF(v_activate_type = 'timestamp', CONCAT(v_head, p_activate, v_tail), p_activate);
    SET p_expire = IF(v_expire_type = 'timestamp', CONCAT(v_head, p_expire, v_tail), p_expire);
  END IF;
  SET p_activate = COALESCE(p_activate, 'NULL'), p_expire = COALESCE(p_expire, 'NULL');
END //

-- How many datasets of the group have a schedule.
DROP PROCEDURE IF EXISTS count_schedules //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE count_schedules(IN p_group VARCHAR(64), OUT p_count INT)
  READS SQL DATA
BEGIN
  SELECT COUNT(*) INTO p_count FROM dataset
   WHERE group_name = p_group AND dropped = 0 AND (activate_column IS NOT NULL OR expire_column IS NOT NULL);
END //

-- Are the options of the schedule sound? Before anything is made.
DROP PROCEDURE IF EXISTS check_schedule_options //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE check_schedule_options(IN p_options LONGTEXT)
  NO SQL
BEGIN
  DECLARE v_activate, v_expire TEXT;
  IF COALESCE(JSON_TYPE(JSON_EXTRACT(p_options, '$.activate_column')), 'STRING') <> 'STRING'
     OR COALESCE(JSON_TYPE(JSON_EXTRACT(p_options, '$.expire_column')), 'STRING') <> 'STRING' THEN
    CALL fail('FS1070: the options activate_column and expire_column each name one column of the source');
  END IF;
  SET v_activate = JSON_UNQUOTE(JSON_EXTRACT(p_options, '$.activate_column'));
  SET v_expire = JSON_UNQUOTE(JSON_EXTRACT(p_options, '$.expire_column'));
  IF LOWER(v_activate) = LOWER(v_expire) THEN
    CALL fail(CONCAT('FS1070: ', v_activate, ' can''t be both activate_column and expire_column; leave one out'));
  END IF;
  IF COALESCE(v_activate, v_expire) IS NOT NULL
     AND COALESCE(JSON_UNQUOTE(JSON_EXTRACT(p_options, '$.changes')), 'full') <> 'full' THEN
    -- A change that comes due touches no row.
    CALL fail(CONCAT('FS1071: neither a change column nor triggers notice what comes due by itself; leave out ',
                     'the option "changes", or make two datasets'));
  END IF;
END //

-- Takes one of the schedule's columns; p_type is datetime or timestamp.
DROP PROCEDURE IF EXISTS take_schedule_column //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE take_schedule_column(
  IN p_name VARCHAR(64), IN p_schema VARCHAR(64), IN p_table VARCHAR(64), INOUT p_column TEXT, OUT p_type TEXT)
  READS SQL DATA
BEGIN
  DECLARE v_found, v_list TEXT;
  DECLARE v_key INT;
  IF p_column IS NOT NULL THEN
    SELECT MAX(column_name), MAX(LOWER(data_type)) INTO v_found, p_type FROM information_schema.columns
     WHERE table_schema = p_schema AND table_name = p_table AND LOWER(column_name) = LOWER(p_column);
    IF v_found IS NULL OR p_type NOT IN ('datetime', 'timestamp') THEN
      SELECT GROUP_CONCAT(column_name ORDER BY ordinal_position SEPARATOR ', ') INTO v_list
        FROM information_schema.columns
       WHERE table_schema = p_schema AND table_name = p_table AND data_type IN ('datetime', 'timestamp');
      CALL fail(CONCAT('FS1072: ', p_schema, '.', p_table, IF(v_found IS NULL, ' has no column ''', ' has in '''), p_column,
                       IF(v_found IS NULL, '''', CONCAT(''' a ', p_type)), '; a time to activate or expire is a DATETIME or ',
                       'TIMESTAMP (UTC), as are: ', COALESCE(v_list, 'none')));
    END IF;
    SELECT COUNT(*) INTO v_key FROM dataset_column
     WHERE dataset = p_name AND key_place > 0 AND LOWER(name) = LOWER(p_column);
    IF v_key > 0 THEN
      CALL fail(CONCAT('FS1073: the key of ', p_name, ' is what readers look up; leave ', v_found,
                       ' out of it: several rows of one key are told apart by it'));
    END IF;
    SET p_column = v_found;
  END IF;
END //

-- Takes the options activate_column and expire_column.
DROP PROCEDURE IF EXISTS take_schedule //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE take_schedule(
  IN p_name VARCHAR(64), IN p_schema VARCHAR(64), IN p_table VARCHAR(64), IN p_options LONGTEXT)
  MODIFIES SQL DATA
BEGIN
  DECLARE v_activate TEXT DEFAULT JSON_UNQUOTE(JSON_EXTRACT(p_options, '$.activate_column'));
  DECLARE v_expire TEXT DEFAULT JSON_UNQUOTE(JSON_EXTRACT(p_options, '$.expire_column'));
  DECLARE v_activate_type, v_expire_type, v_keys TEXT;
  DECLARE v_base, v_index, v_taken INT;
  IF v_activate IS NOT NULL OR v_expire IS NOT NULL THEN
    CALL take_schedule_column(p_name, p_schema, p_table, v_activate, v_activate_type);
    CALL take_schedule_column(p_name, p_schema, p_table, v_expire, v_expire_type);
    SELECT COUNT(*) INTO v_taken FROM dataset_column WHERE dataset = p_name AND LOWER(name) = 'fs_nth';
    IF v_taken > 0 THEN
      CALL fail('FS1026: column name fs_nth is taken by farmsync; use a view that renames it');
    END IF;
    -- Which row of a key counts is looked up by key: without an index each look would read the whole table.
    SELECT COUNT(*) INTO v_base FROM information_schema.tables
     WHERE table_schema = p_schema AND table_name = p_table AND table_type LIKE 'BASE%';
    SELECT COUNT(*) INTO v_index FROM information_schema.statistics i
      JOIN dataset_column k ON k.dataset = p_name AND k.key_place > 0 AND k.name = i.column_name
     WHERE i.table_schema = p_schema AND i.table_name = p_table AND i.index_type = 'BTREE' AND i.seq_in_index = 1;
    IF v_base > 0 AND v_index = 0 THEN
      SELECT GROUP_CONCAT(quoted ORDER BY key_place SEPARATOR ', ') INTO v_keys
        FROM column_sql WHERE dataset = p_name AND key_place > 0;
      CALL fail(CONCAT('FS1074: no index of ', p_schema, '.', p_table, ' begins with its key: CREATE INDEX schedule ON `',
                       p_schema, '`.`', p_table, '` (', v_keys,
                       COALESCE(CONCAT(', `', REPLACE(v_activate, '`', '``'), '`'), ''), ')'));
    END IF;
    START TRANSACTION;
    UPDATE dataset SET activate_column = v_activate, expire_column = v_expire,
                       schedule_types = JSON_OBJECT('activate', v_activate_type, 'expire', v_expire_type)
     WHERE name = p_name;
    COMMIT;
  END IF;
END //

-- For promote_read and the views: the rows that are due at p_time (SQL), one of each key. p_rows and p_only: as
-- plan_changes has it, untouched if the dataset has no schedule; p_due: a condition for rows of the source, which p_join may
-- extend; p_doubles: SELECT of a key that has two rows for the same time, neither of them expired.
DROP PROCEDURE IF EXISTS plan_schedule //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE plan_schedule(
  IN p_name VARCHAR(64), IN p_source VARCHAR(193), IN p_time TEXT, IN p_join TEXT, IN p_any_zone TINYINT,
  INOUT p_rows LONGTEXT, INOUT p_only LONGTEXT, OUT p_due LONGTEXT, OUT p_doubles LONGTEXT)
  READS SQL DATA
BEGIN
  DECLARE v_activate, v_expire TEXT;
  DECLARE v_columns, v_keys, v_key_values LONGTEXT;
  SET p_due = NULL, p_doubles = NULL;
  CALL schedule_columns(p_name, 'p', p_any_zone, v_activate, v_expire);
  IF v_activate <> 'NULL' OR v_expire <> 'NULL' THEN
    SELECT GROUP_CONCAT('p.', quoted ORDER BY place SEPARATOR ', ') INTO v_columns
      FROM column_sql WHERE dataset = p_name;
    SELECT GROUP_CONCAT('p.', quoted ORDER BY key_place SEPARATOR ', '),
           GROUP_CONCAT(read_sql, ' AS ', quoted ORDER BY key_place SEPARATOR ', ')
      INTO v_keys, v_key_values FROM column_sql WHERE dataset = p_name AND key_place > 0;
    SET p_due = CONCAT_WS(' AND ',
      IF(v_activate <> 'NULL', CONCAT('(', v_activate, ' IS NULL OR ', v_activate, ' <= ', p_time, ')'), NULL),
      IF(v_expire <> 'NULL', CONCAT('(', v_expire, ' IS NULL OR ', v_expire, ' > ', p_time, ')'), NULL));
    SET p_rows = CONCAT('(SELECT ', v_columns, ', ROW_NUMBER() OVER (PARTITION BY ', v_keys, ' ORDER BY ',
      IF(v_activate <> 'NULL', CONCAT(v_activate, ' DESC'), v_keys), ') AS fs_nth FROM ', p_source, ' AS p ',
      COALESCE(p_join, ''), ' WHERE ', p_due, ') AS p');
    SET p_only = 'p.fs_nth = 1 AND ';
    SET p_doubles = CONCAT('SELECT ', v_key_values, ' FROM ', p_source, ' AS p WHERE ',
      IF(v_expire <> 'NULL', CONCAT('(', v_expire, ' IS NULL OR ', v_expire, ' > ', p_time, ')'), 'TRUE'),
      ' GROUP BY ', v_keys, IF(v_activate <> 'NULL', CONCAT(', ', v_activate), ''), ' HAVING COUNT(*) > 1 LIMIT 1');
  END IF;
END //

-- Ends with a sentence if p_key is a key with two rows for the same time.
DROP PROCEDURE IF EXISTS refuse_double //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE refuse_double(IN p_name VARCHAR(64), IN p_key TEXT)
  READS SQL DATA
BEGIN
  DECLARE v_source VARCHAR(193);
  DECLARE v_activate VARCHAR(64);
  IF p_key IS NOT NULL THEN
    SELECT MAX(source), MAX(activate_column) INTO v_source, v_activate FROM dataset WHERE name = p_name;
    CALL fail(CONCAT('FS1075: dataset ', p_name, ': two rows of the key ''', LEFT(p_key, 64), '''',
                     IF(v_activate IS NULL, ' haven''t expired', CONCAT(' have the same ', v_activate)),
                     ', so that none of them counts more; change or remove one'));
  END IF;
END //

-- For add_dataset: no key twice for the same time.
DROP PROCEDURE IF EXISTS check_schedule_key //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE check_schedule_key(IN p_name VARCHAR(64), IN p_source VARCHAR(193))
  MODIFIES SQL DATA
BEGIN
  DECLARE v_rows, v_only, v_due, v_doubles, v_keys LONGTEXT;
  CALL plan_schedule(p_name, p_source, 'UTC_TIMESTAMP(6)', NULL, 1, v_rows, v_only, v_due, v_doubles);
  SELECT GROUP_CONCAT('d.', quoted ORDER BY key_place SEPARATOR ', ') INTO v_keys
    FROM column_sql WHERE dataset = p_name AND key_place > 0;
  SET @farmsync_text = NULL;
  CALL run_sql(CONCAT('SELECT CONCAT_WS(''/'', ', v_keys, ') INTO @farmsync_text FROM (', v_doubles, ') AS d'));
  CALL refuse_double(p_name, @farmsync_text);
END //

-- For promote_apply: the same, of what the promotion has read.
DROP PROCEDURE IF EXISTS check_doubles //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE check_doubles(IN p_name VARCHAR(64), IN p_ds INT)
  MODIFIES SQL DATA
BEGIN
  DECLARE v_slots LONGTEXT;
  SELECT GROUP_CONCAT('t.', slot ORDER BY key_place SEPARATOR ', ') INTO v_slots
    FROM column_sql WHERE dataset = p_name AND key_place > 0;
  SET @farmsync_text = NULL;
  CALL run_sql(CONCAT('SELECT MIN(CONCAT_WS(''/'', ', v_slots, ')) INTO @farmsync_text FROM farmsync.difference t ',
                      'WHERE t.ds = ', p_ds, ' AND t.op = ''x'''));
  CALL refuse_double(p_name, @farmsync_text);
END //

-- The moments at which something of the dataset changes by its schedule, as SELECTs of the column `at` and of what a row
-- does then, for rows that p_where (SQL, with %at% for the moment) takes.
DROP PROCEDURE IF EXISTS schedule_moments //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE schedule_moments(
  IN p_name VARCHAR(64), IN p_any_zone TINYINT, IN p_where TEXT, OUT p_starts LONGTEXT, OUT p_ends LONGTEXT)
  READS SQL DATA
BEGIN
  DECLARE v_activate, v_expire, v_q_activate, v_q_expire TEXT;
  DECLARE v_source VARCHAR(193);
  DECLARE v_same LONGTEXT;
  SELECT MAX(source) INTO v_source FROM dataset WHERE name = p_name;
  SELECT GROUP_CONCAT('q.', quoted, ' = p.', quoted SEPARATOR ' AND ') INTO v_same
    FROM column_sql WHERE dataset = p_name AND key_place > 0;
  CALL schedule_columns(p_name, 'p', p_any_zone, v_activate, v_expire);
  CALL schedule_columns(p_name, 'q', p_any_zone, v_q_activate, v_q_expire);
  SET p_starts = IF(v_activate = 'NULL', NULL, CONCAT('SELECT ', v_activate, ' AS at, 1 AS starts, 0 AS ends FROM ', v_source,
    ' AS p WHERE ', REPLACE(p_where, '%at%', v_activate),
    IF(v_expire = 'NULL', '', CONCAT(' AND (', v_expire, ' IS NULL OR ', v_expire, ' > ', v_activate, ')'))));
  SET p_ends = IF(v_expire = 'NULL', NULL, CONCAT('SELECT ', v_expire, ' AS at, 0 AS starts, 1 AS ends FROM ', v_source,
    ' AS p WHERE ', REPLACE(p_where, '%at%', v_expire),
    IF(v_activate = 'NULL', '', CONCAT(' AND (', v_activate, ' IS NULL OR ', v_activate, ' < ', v_expire, ')',
      ' AND NOT EXISTS (SELECT 1 FROM ', v_source, ' AS q WHERE ', v_same, ' AND ', v_q_activate, ' < ', v_expire,
      ' AND (', v_activate, ' IS NULL OR ', v_q_activate, ' > ', v_activate, ') AND (', v_q_expire, ' IS NULL OR ',
      v_q_expire, ' >= ', v_expire, '))'))));
END //

-- The first (p_last: last) moment from p_from on and before p_to at which something of the group changes by its
-- schedule; NULL: there is none.
DROP PROCEDURE IF EXISTS due_change //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE due_change(
  IN p_group VARCHAR(64), IN p_from DATETIME(6), IN p_to DATETIME(6), IN p_last TINYINT, OUT p_at DATETIME(6))
  MODIFIES SQL DATA
BEGIN
  DECLARE v_done, v_errno INT DEFAULT 0;
  DECLARE v_name VARCHAR(64);
  DECLARE v_where, v_text TEXT;
  DECLARE v_starts, v_ends, v_sql LONGTEXT;
  DECLARE v_zone VARCHAR(64) DEFAULT @@SESSION.time_zone;
  DECLARE v_length BIGINT DEFAULT @@SESSION.group_concat_max_len;
  DECLARE v_each CURSOR FOR
    SELECT name FROM dataset WHERE group_name = p_group AND dropped = 0
       AND (activate_column IS NOT NULL OR expire_column IS NOT NULL) ORDER BY name;
  DECLARE CONTINUE HANDLER FOR NOT FOUND SET v_done = 1;
  DECLARE EXIT HANDLER FOR SQLEXCEPTION
  BEGIN
    GET DIAGNOSTICS CONDITION 1 v_errno = MYSQL_ERRNO, v_text = MESSAGE_TEXT;
    SET SESSION time_zone = v_zone;
    SET SESSION group_concat_max_len = v_length;
    IF v_errno IN (1020, 1047, 1205, 1213, 1317, 1927, 3101) THEN
      RESIGNAL;
    END IF;
    CALL fail(CONCAT('FS1033: the production data can''t be read: ', v_text,
                     '; repair the table or view, or CALL farmsync.drop_dataset'));
  END;
  SET v_where = CONCAT('%at% >= ''', p_from, ''' AND %at% < ''', p_to, '''');
  SET p_at = NULL;
  SET SESSION time_zone = '+00:00';
  SET SESSION group_concat_max_len = 16777216;
  IF p_from < p_to THEN
    OPEN v_each;
    each_dataset: LOOP
      FETCH v_each INTO v_name;
      IF v_done THEN
        LEAVE each_dataset;
      END IF;
      CALL schedule_moments(v_name, 0, v_where, v_starts, v_ends);
      SET v_sql = CONCAT_WS(' UNION ALL ', v_sql, v_starts, v_ends);
    END LOOP;
    CLOSE v_each;
    IF v_sql IS NOT NULL THEN
      SET @farmsync_at = NULL;
      CALL run_sql(CONCAT('SELECT ', IF(p_last, 'MAX', 'MIN'), '(e.at) INTO @farmsync_at FROM (', v_sql, ') AS e'));
      SET p_at = @farmsync_at;
    END IF;
  END IF;
  SET SESSION time_zone = v_zone;
  SET SESSION group_concat_max_len = v_length;
END //

-- The moment for which a promotion stages what is right then, and at which that is to be active. p_since: the one of
-- the version before, NULL for the first. p_now: when it is promoted.
DROP PROCEDURE IF EXISTS promote_time //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE promote_time(
  IN p_group VARCHAR(64), IN p_since DATETIME(6), IN p_now DATETIME(6), OUT p_time DATETIME(6))
  MODIFIES SQL DATA
BEGIN
  DECLARE v_count, v_percent INT;
  DECLARE v_lead, v_step, v_notice BIGINT;
  DECLARE v_wanted, v_earliest, v_to, v_at DATETIME(6);
  CALL activation_after(p_group, 1, p_now, p_time);
  CALL count_schedules(p_group, v_count);
  IF v_count > 0 THEN
    SELECT LEAST(CAST(min_lead * 1000000 AS SIGNED), sync_interval * 1000000 DIV 2), wanted_time, ready_percent
      INTO v_lead, v_wanted, v_percent FROM sync WHERE group_name = p_group;
    IF v_percent IS NOT NULL THEN
      -- A version that waits for its servers needs the lead and then the notice.
      CALL ready_times(p_group, v_step, v_notice);
      SET v_lead = v_step + v_notice, p_time = GREATEST(p_time, p_now + INTERVAL v_lead MICROSECOND);
    END IF;
    SET v_earliest = LEAST(p_time, p_now + INTERVAL v_lead MICROSECOND);
    -- An operator's own time is kept; that of the grid gives way.
    SET v_to = p_time + INTERVAL IF(v_wanted <= p_time, 0, v_lead) MICROSECOND;
    CALL due_change(p_group, p_since + INTERVAL 1 MICROSECOND, v_earliest, 0, v_at);
    IF v_at IS NOT NULL THEN
      SET v_to = LEAST(v_to, v_earliest + INTERVAL v_lead MICROSECOND), p_time = v_earliest;
    END IF;
    CALL due_change(p_group, v_earliest, v_to, 0, v_at);
    SET p_time = COALESCE(v_at, p_time);
  END IF;
END //

-- The moment for which the next promotion will stage what is right then, as far as can be known now.
DROP PROCEDURE IF EXISTS pending_time //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE pending_time(IN p_group VARCHAR(64), OUT p_time DATETIME(6))
  MODIFIES SQL DATA
BEGIN
  DECLARE v_now, v_since DATETIME(6);
  SELECT GREATEST(UTC_TIMESTAMP(6), IF(version <> active_version, COALESCE(content_time, UTC_TIMESTAMP(6)), activation_time)),
         IF(version > 0, content_time, NULL)
    INTO v_now, v_since FROM sync WHERE group_name = p_group;
  CALL promote_time(p_group, v_since, v_now, p_time);
END //

-- For promote_done: the work took so long that p_time leaves no lead. p_next, the next moment of the grid, would be too
-- late for what is due before.
DROP PROCEDURE IF EXISTS put_off //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE put_off(
  IN p_group VARCHAR(64), IN p_version BIGINT, IN p_time DATETIME(6), INOUT p_next DATETIME(6))
  MODIFIES SQL DATA
BEGIN
  DECLARE v_count INT;
  DECLARE v_lead, v_off BIGINT;
  DECLARE v_at DATETIME(6);
  DECLARE v_text TEXT;
  CALL count_schedules(p_group, v_count);
  IF v_count > 0 THEN
    SELECT LEAST(CAST(min_lead * 1000000 AS SIGNED), sync_interval * 1000000 DIV 2),
           MOD(TIMESTAMPDIFF(MICROSECOND, grid_time, p_time), sync_interval * 1000000)
      INTO v_lead, v_off FROM sync WHERE group_name = p_group;
    CALL due_change(p_group, p_time, p_next, 0, v_at);
    IF v_off <> 0 OR v_at IS NOT NULL THEN
      SET p_next = LEAST(p_next, UTC_TIMESTAMP(6) + INTERVAL v_lead MICROSECOND);
    END IF;
    IF v_at <= p_time + INTERVAL v_lead MICROSECOND THEN
      SET v_text = CONCAT('FS1076: the promotion took too long for the change that is due at ', v_at,
                          ' UTC: it is in force from ', p_next, ' on; a longer lead (set_lead) begins earlier');
      UPDATE sync SET reason = LEFT(v_text, 512) WHERE group_name = p_group;
      INSERT INTO history (at, group_name, action, version, who, detail, account)
      VALUES (UTC_TIMESTAMP(6), p_group, 'late', p_version, LEFT(USER(), 255), v_text, LEFT(USER(), 255));
    END IF;
  END IF;
END //

-- When nothing is staged, a change that is due before p_next + lead is looked for again two leads before it, but not
-- before p_from.
DROP PROCEDURE IF EXISTS look_ahead //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE look_ahead(
  IN p_group VARCHAR(64), IN p_from DATETIME(6), INOUT p_next DATETIME(6))
  MODIFIES SQL DATA
BEGIN
  DECLARE v_lead BIGINT;
  DECLARE v_at DATETIME(6);
  SELECT LEAST(CAST(min_lead * 1000000 AS SIGNED), sync_interval * 1000000 DIV 2) INTO v_lead
    FROM sync WHERE group_name = p_group;
  CALL due_change(p_group, p_from + INTERVAL v_lead MICROSECOND, p_next + INTERVAL v_lead MICROSECOND, 0, v_at);
  IF v_at IS NOT NULL THEN
    SET p_next = LEAST(p_next, GREATEST(p_from, v_at - INTERVAL 2 * v_lead MICROSECOND));
  END IF;
END //

-- For promote_failed, which must get through also where production can't be read.
DROP PROCEDURE IF EXISTS look_ahead_if_readable //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE look_ahead_if_readable(
  IN p_group VARCHAR(64), IN p_from DATETIME(6), INOUT p_next DATETIME(6))
  MODIFIES SQL DATA
BEGIN
  DECLARE EXIT HANDLER FOR SQLSTATE '45000' BEGIN END;
  CALL look_ahead(p_group, p_from, p_next);
END //

-- For operators' acts: what is staged must not be active before what it holds is due. p_time: not before that.
DROP PROCEDURE IF EXISTS not_before_due //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE not_before_due(IN p_group VARCHAR(64), INOUT p_time DATETIME(6))
  MODIFIES SQL DATA
BEGIN
  DECLARE v_version, v_active BIGINT;
  DECLARE v_content, v_at DATETIME(6);
  SELECT version, active_version, content_time INTO v_version, v_active, v_content
    FROM sync WHERE group_name = p_group;
  IF v_version <> v_active AND v_content > p_time THEN
    CALL due_change(p_group, p_time + INTERVAL 1 MICROSECOND, v_content + INTERVAL 1 MICROSECOND, 1, v_at);
    SET p_time = COALESCE(v_at, p_time);
  END IF;
END //

-- For promote_work: what this version holds of a dataset that was due before p_time, and not before p_since: the time of
-- the promotion before, which didn't know of it or could not announce it. p_exact: that was in force in time.
DROP PROCEDURE IF EXISTS late_changes //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE late_changes(
  IN p_name VARCHAR(64), IN p_version BIGINT, IN p_since DATETIME(6), IN p_exact DATETIME(6), IN p_time DATETIME(6),
  OUT p_text TEXT)
  MODIFIES SQL DATA
BEGIN
  DECLARE v_starts, v_ends, v_on LONGTEXT;
  DECLARE v_where TEXT;
  SET p_text = NULL;
  SELECT GROUP_CONCAT('d.', quoted, ' = ', read_sql SEPARATOR ' AND ') INTO v_on
    FROM column_sql WHERE dataset = p_name AND key_place > 0;
  SET v_where = CONCAT('%at% > ''', p_since, ''' AND %at% < ''', p_time, '''',
    COALESCE(CONCAT(' AND %at% <> ''', p_exact, ''''), ''), ' AND EXISTS (SELECT 1 FROM farmsync.`data_', p_name,
    '` AS d WHERE ', v_on, ' AND (d.fs_from = ', p_version, ' OR d.fs_to = ', p_version, '))');
  CALL schedule_moments(p_name, 0, v_where, v_starts, v_ends);
  SET v_starts = CONCAT_WS(' UNION ALL ', v_starts, v_ends);
  IF v_starts <> '' THEN
    SET @farmsync_at = NULL;
    CALL run_sql(CONCAT('SELECT MIN(e.at), COUNT(*) INTO @farmsync_at, @farmsync_count FROM (', v_starts, ') AS e'));
    IF @farmsync_at IS NOT NULL THEN
      SET p_text = CONCAT('FS1077: ', p_name, ': ', @farmsync_count, ' scheduled changes came too late to be announced for ',
                          'their time, the first due at ', @farmsync_at, ' UTC: in force from ', p_time,
                          ' on; enter them an interval and the lead before');
    END IF;
  END IF;
END //

-- For show_pending: when something of the dataset changes next by its schedule, and how many rows begin or end.
DROP PROCEDURE IF EXISTS count_scheduled //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE count_scheduled(
  IN p_name VARCHAR(64), OUT p_next DATETIME(6), OUT p_count BIGINT)
  MODIFIES SQL DATA
BEGIN
  DECLARE v_starts, v_ends LONGTEXT;
  DECLARE v_length BIGINT DEFAULT @@SESSION.group_concat_max_len;
  SET SESSION group_concat_max_len = 16777216;
  CALL schedule_moments(p_name, 1, '%at% > UTC_TIMESTAMP(6)', v_starts, v_ends);
  SET SESSION group_concat_max_len = v_length;
  SET @farmsync_at = NULL, @farmsync_count = 0, v_starts = CONCAT_WS(' UNION ALL ', v_starts, v_ends);
  IF v_starts <> '' THEN
    CALL run_sql(CONCAT('SELECT MIN(e.at), COUNT(*) INTO @farmsync_at, @farmsync_count FROM (', v_starts, ') AS e'));
  END IF;
  SET p_next = @farmsync_at, p_count = @farmsync_count;
END //

-- The view `scheduled` has a line per dataset and moment to come; it is made anew when a dataset comes or goes.
DROP PROCEDURE IF EXISTS make_scheduled //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE make_scheduled()
  MODIFIES SQL DATA
BEGIN
  DECLARE v_done INT DEFAULT 0;
  DECLARE v_name, v_group VARCHAR(64);
  DECLARE v_starts, v_ends, v_sql LONGTEXT;
  DECLARE v_length BIGINT DEFAULT @@SESSION.group_concat_max_len;
  DECLARE v_each CURSOR FOR
    SELECT name, group_name FROM dataset WHERE dropped = 0
       AND (activate_column IS NOT NULL OR expire_column IS NOT NULL) ORDER BY group_name, name;
  DECLARE CONTINUE HANDLER FOR NOT FOUND SET v_done = 1;
  SET SESSION group_concat_max_len = 16777216;
  OPEN v_each;
  each_dataset: LOOP
    FETCH v_each INTO v_name, v_group;
    IF v_done THEN
      LEAVE each_dataset;
    END IF;
    CALL schedule_moments(v_name, 1, '%at% > UTC_TIMESTAMP(6)', v_starts, v_ends);
    SET v_sql = CONCAT_WS(' UNION ALL ', v_sql, CONCAT('SELECT ', QUOTE(v_group), ' AS group_name, ', QUOTE(v_name),
      ' AS dataset, e.at, CAST(SUM(e.starts) AS SIGNED) AS starts, CAST(SUM(e.ends) AS SIGNED) AS ends FROM (',
      CONCAT_WS(' UNION ALL ', v_starts, v_ends), ') AS e GROUP BY e.at'));
  END LOOP;
  CLOSE v_each;
  SET SESSION group_concat_max_len = v_length;
  SET v_sql = COALESCE(v_sql, CONCAT('SELECT group_name, group_name AS dataset, activation_time AS at, 0 AS starts, ',
                                     '0 AS ends FROM farmsync.sync WHERE FALSE'));
  CALL run_sql(CONCAT('CREATE OR REPLACE DEFINER = ''farmsync''@''localhost'' SQL SECURITY DEFINER VIEW ',
    'farmsync.scheduled AS SELECT m.group_name, m.dataset, m.at, m.starts, m.ends, CASE ',
    'WHEN s.version <> s.active_version AND m.at = s.content_time AND m.at = ',
    'IF(s.activation_time > ''9999-01-01'', COALESCE(s.planned_time, m.at), s.activation_time) THEN ''staged'' ',
    'WHEN m.at < GREATEST(UTC_TIMESTAMP(6), IF(s.activation_time > ''9999-01-01'', COALESCE(s.planned_time, UTC_TIMESTAMP(6)), ',
    's.activation_time)) + INTERVAL LEAST(CAST(s.min_lead * 1000000 AS SIGNED), s.sync_interval * 1000000 DIV 2) MICROSECOND ',
    'THEN ''late'' ELSE ''waiting'' END AS state ',
    'FROM farmsync.sync AS s JOIN (', v_sql, ') AS m ON m.group_name = s.group_name'));
END //

DELIMITER ;
