-- SPDX-License-Identifier: Apache-2.0
-- How the changes of a dataset are found (option "changes" of add_dataset_with). By full comparison, unless
-- the dataset has a row in dataset_changes. The two cheap ways read what changed only:
--   column    rows whose change column is not below the newest value seen, less an overlap for transactions
--             that commit late with an older value; by a range of the column's index;
--   triggers  rows whose keys the source's triggers have noted in changed_<dataset>. A promotion removes by
--             their ids just those notes that its one statement has read; what is noted while it runs has
--             other ids and stays. Writers only insert, with ids of their own, so nobody waits for anybody.
-- Both miss something (doc/sql.md says what), so every full_every seconds the comparison is full. It is, too,
-- whenever they can't be relied on: index or triggers gone, nothing compared yet, after a roll-back. A source
-- that is empty is noticed at once, because TRUNCATE runs no triggers.
-- Their key must be a unique index: so no row can come twice, and nothing needs to be counted.
-- Loaded by ../procedures.sql, which sets the mode that procedures keep.
DELIMITER //

-- The bodies of a dataset's triggers. They must never hinder the shop: if the table of notes is gone, nothing
-- is noted.
DROP PROCEDURE IF EXISTS trigger_bodies //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE trigger_bodies(
  IN p_name VARCHAR(64), IN p_keys JSON, OUT p_insert LONGTEXT, OUT p_update LONGTEXT, OUT p_delete LONGTEXT)
  NO SQL
BEGIN
  DECLARE v_columns, v_new, v_old, v_same LONGTEXT;
  DECLARE v_head TEXT;
  SELECT GROUP_CONCAT(k.q ORDER BY k.n SEPARATOR ', '), GROUP_CONCAT('NEW.', k.q ORDER BY k.n SEPARATOR ', '),
         GROUP_CONCAT('OLD.', k.q ORDER BY k.n SEPARATOR ', '),
         GROUP_CONCAT('OLD.', k.q, ' <=> NEW.', k.q ORDER BY k.n SEPARATOR ' AND ')
    INTO v_columns, v_new, v_old, v_same
    FROM (SELECT j.n, CONCAT('`', REPLACE(j.name, '`', '``'), '`') AS q
            FROM JSON_TABLE(p_keys, '$[*]' COLUMNS (n FOR ORDINALITY, name VARCHAR(64) PATH '$')) AS j) AS k;
  SET v_head = CONCAT('INSERT INTO farmsync.`changed_', p_name, '` (', v_columns, ') VALUES (');
  SET p_insert = CONCAT('BEGIN DECLARE CONTINUE HANDLER FOR 1146 BEGIN END; ', v_head, v_new, '); END');
  SET p_delete = CONCAT('BEGIN DECLARE CONTINUE HANDLER FOR 1146 BEGIN END; ', v_head, v_old, '); END');
  SET p_update = CONCAT('BEGIN DECLARE CONTINUE HANDLER FOR 1146 BEGIN END; ', v_head, v_old, '); IF NOT (', v_same,
                        ') THEN ', v_head, v_new, '); END IF; END');
END //

-- The statement that makes one of the triggers.
DROP PROCEDURE IF EXISTS trigger_sql //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE trigger_sql(
  IN p_name VARCHAR(64), IN p_schema VARCHAR(64), IN p_table VARCHAR(64), IN p_event VARCHAR(8),
  IN p_body LONGTEXT, OUT p_sql LONGTEXT)
  NO SQL
BEGIN
  SET p_schema = REPLACE(p_schema, '`', '``');
  SET p_sql = CONCAT('CREATE DEFINER = ''farmsync''@''localhost'' TRIGGER `', p_schema, '`.`farmsync_', p_name, '_',
                     LOWER(LEFT(p_event, 3)), '` AFTER ', p_event, ' ON `', p_schema, '`.`',
                     REPLACE(p_table, '`', '``'), '` FOR EACH ROW ', p_body);
END //

-- The statements that make the triggers of a dataset, for the client, where add_dataset can't make them:
--   mysql -N -r -e "CALL farmsync.show_triggers('prices', 'shop.price', 'sku')" | mysql
DROP PROCEDURE IF EXISTS show_triggers //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE show_triggers(
  IN p_name VARCHAR(255), IN p_source TEXT, IN p_keys TEXT)
  READS SQL DATA
BEGIN
  DECLARE v_schema, v_table VARCHAR(64);
  DECLARE v_insert, v_update, v_delete, v_keys LONGTEXT;
  IF COALESCE(p_name, '') NOT REGEXP '^[A-Za-z0-9_]{1,48}$' THEN
    CALL fail(CONCAT('FS1010: ''', COALESCE(p_name, 'NULL'),
                     ''' can''t be a dataset''s name; use 1 to 48 letters, digits and _'));
  END IF;
  CALL parse_source(p_source, v_schema, v_table);
  SET v_keys = CONCAT('[', REPLACE(JSON_QUOTE(REPLACE(COALESCE(p_keys, ''), '`', '')), ',', '","'), ']');
  SELECT CONCAT('[', GROUP_CONCAT(JSON_QUOTE(TRIM(j.name)) ORDER BY j.n SEPARATOR ','), ']') INTO v_keys
    FROM JSON_TABLE(v_keys, '$[*]' COLUMNS (n FOR ORDINALITY, name VARCHAR(64) PATH '$')) AS j;
  CALL trigger_bodies(p_name, v_keys, v_insert, v_update, v_delete);
  CALL trigger_sql(p_name, v_schema, v_table, 'INSERT', v_insert, v_insert);
  CALL trigger_sql(p_name, v_schema, v_table, 'UPDATE', v_update, v_update);
  CALL trigger_sql(p_name, v_schema, v_table, 'DELETE', v_delete, v_delete);
  SELECT 'DELIMITER //' AS statement UNION ALL SELECT CONCAT(v_insert, ' //') UNION ALL
  SELECT CONCAT(v_update, ' //') UNION ALL SELECT CONCAT(v_delete, ' //') UNION ALL SELECT 'DELIMITER ;';
END //

-- Removes the triggers; p_left has the statements for those that can't be removed by a procedure (MySQL, or
-- a right that is missing).
DROP PROCEDURE IF EXISTS drop_triggers //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE drop_triggers(IN p_name VARCHAR(64), OUT p_left TEXT)
  MODIFIES SQL DATA
BEGIN
  DECLARE v_schema VARCHAR(130);
  DECLARE v_event VARCHAR(3);
  DECLARE v_n, v_failed INT DEFAULT 0;
  DECLARE v_sql TEXT;
  DECLARE v_wait BIGINT DEFAULT @@SESSION.lock_wait_timeout;
  SELECT REPLACE(MAX(table_schema), '`', '``') INTO v_schema FROM dataset_changes
   WHERE dataset = p_name AND how = 'triggers';
  SET p_left = NULL;
  WHILE v_schema IS NOT NULL AND v_n < 3 DO
    SET v_n = v_n + 1, v_event = ELT(v_n, 'ins', 'upd', 'del'), v_failed = 0;
    SET v_sql = CONCAT('DROP TRIGGER IF EXISTS `', v_schema, '`.`farmsync_', p_name, '_', v_event, '`');
    SET SESSION lock_wait_timeout = 10;
    BEGIN
      DECLARE CONTINUE HANDLER FOR SQLEXCEPTION SET v_failed = 1;
      CALL run_sql(v_sql);
    END;
    SET SESSION lock_wait_timeout = v_wait;
    IF v_failed THEN
      SET p_left = CONCAT(COALESCE(CONCAT(p_left, '; '), ''), v_sql);
    END IF;
  END WHILE;
END //

-- Can the changes of the dataset be found in its cheap way now? p_problem: why not, and what to do; else the
-- unique index of its key, and the index and the type (number, timestamp, datetime) of the change column.
DROP PROCEDURE IF EXISTS find_changes //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE find_changes(
  IN p_name VARCHAR(64), OUT p_key_index VARCHAR(64), OUT p_column_index VARCHAR(64), OUT p_type VARCHAR(64),
  OUT p_problem TEXT)
  MODIFIES SQL DATA
changes: BEGIN
  DECLARE v_schema, v_table, v_how, v_column VARCHAR(64);
  DECLARE v_where, v_keys, v_insert, v_update, v_delete LONGTEXT;
  SELECT table_schema, table_name, how, change_column INTO v_schema, v_table, v_how, v_column
    FROM dataset_changes WHERE dataset = p_name;
  -- With constants, information_schema looks at this table only.
  SET v_where = CONCAT(' WHERE table_schema = ', QUOTE(v_schema), ' AND table_name = ', QUOTE(v_table));

  SET @farmsync_count = NULL;
  CALL run_sql(CONCAT('SELECT SUM(table_type <> ''VIEW'') INTO @farmsync_count FROM information_schema.tables',
                      v_where));
  IF COALESCE(@farmsync_count, 0) = 0 THEN
    SET p_problem = CONCAT('FS1061: ', v_schema, '.', v_table, ' is no base table; what changes in a view is ',
                           'found by "changes": "full" only');
    LEAVE changes;
  END IF;

  SELECT CONCAT('[', GROUP_CONCAT(JSON_QUOTE(name) ORDER BY key_place SEPARATOR ','), ']') INTO v_keys
    FROM dataset_column WHERE dataset = p_name AND key_place > 0;
  CALL run_sql(CONCAT('SELECT SUM(is_nullable = ''YES'') INTO @farmsync_count FROM information_schema.columns', v_where,
                      ' AND JSON_CONTAINS(', QUOTE(v_keys), ', JSON_QUOTE(column_name))'));
  SET @farmsync_text = NULL;
  CALL run_sql(CONCAT('SELECT MIN(i.index_name) INTO @farmsync_text FROM (SELECT index_name FROM ',
    'information_schema.statistics', v_where, ' AND non_unique = 0 AND index_type = ''BTREE'' GROUP BY index_name ',
    'HAVING SUM(sub_part IS NOT NULL OR column_name IS NULL OR NOT JSON_CONTAINS(', QUOTE(v_keys),
    ', JSON_QUOTE(column_name))) = 0) AS i'));
  SET p_key_index = @farmsync_text;
  IF p_key_index IS NULL OR @farmsync_count > 0 THEN
    SET p_problem = CONCAT('FS1062: ', v_schema, '.', v_table, ' needs a unique index of NOT NULL columns for the key ',
                           v_keys, ' if it isn''t to be compared in full');
    LEAVE changes;
  END IF;

  IF v_how = 'column' THEN
    SET @farmsync_text = NULL;
    CALL run_sql(CONCAT('SELECT MAX(LOWER(data_type)) INTO @farmsync_text FROM information_schema.columns', v_where,
                        ' AND column_name = ', QUOTE(v_column)));
    SET p_type = @farmsync_text;
    IF p_type IN ('tinyint', 'smallint', 'mediumint', 'int', 'bigint') THEN
      SET p_type = 'number';
    END IF;
    SET @farmsync_text = NULL;
    CALL run_sql(CONCAT('SELECT MIN(index_name) INTO @farmsync_text FROM information_schema.statistics', v_where,
                        ' AND seq_in_index = 1 AND index_type = ''BTREE'' AND column_name = ', QUOTE(v_column)));
    SET p_column_index = @farmsync_text;
    IF p_type IS NULL THEN
      SET p_problem = CONCAT('FS1020: ', v_schema, '.', v_table, ' has no column ''', v_column, '''');
    ELSEIF p_type NOT IN ('number', 'timestamp', 'datetime') THEN
      SET p_problem = CONCAT('FS1063: ', v_column, ' is a ', p_type, '; a change column is a TIMESTAMP, DATETIME or ',
                             'integer that grows whenever a row is written');
    ELSEIF p_column_index IS NULL THEN
      SET p_problem = CONCAT('FS1064: no index of ', v_schema, '.', v_table, ' begins with ', v_column, ': CREATE INDEX ',
                             'changes ON `', v_schema, '`.`', v_table, '` (`', v_column, '`)');
    END IF;
  ELSE
    CALL trigger_bodies(p_name, v_keys, v_insert, v_update, v_delete);
    CALL run_sql(CONCAT('SELECT COUNT(*) INTO @farmsync_count FROM information_schema.triggers WHERE ',
      'event_object_schema = ', QUOTE(v_schema), ' AND event_object_table = ', QUOTE(v_table),
      ' AND action_timing = ''AFTER'' AND (event_manipulation, action_statement) IN ((''INSERT'', ', QUOTE(v_insert),
      '), (''UPDATE'', ', QUOTE(v_update), '), (''DELETE'', ', QUOTE(v_delete), '))'));
    IF @farmsync_count < 3 THEN
      SET p_problem = CONCAT('FS1065: farmsync''s triggers on ', v_schema, '.', v_table, ' aren''t there: run what CALL ',
                             'farmsync.show_triggers lists, then this again');
    END IF;
  END IF;
END //

-- Makes the triggers, where a procedure can: MariaDB. Elsewhere find_changes says what to do.
DROP PROCEDURE IF EXISTS make_triggers //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE make_triggers(IN p_name VARCHAR(64))
  MODIFIES SQL DATA
BEGIN
  DECLARE v_schema, v_table VARCHAR(64);
  DECLARE v_keys, v_insert, v_update, v_delete, v_left LONGTEXT;
  DECLARE v_wait BIGINT DEFAULT @@SESSION.lock_wait_timeout;
  DECLARE EXIT HANDLER FOR 1142, 1044
  BEGIN
    SET SESSION lock_wait_timeout = v_wait;
    CALL fail(CONCAT('FS1066: farmsync may make no triggers there: GRANT TRIGGER ON `', v_schema, '`.`', v_table,
                     '` TO ''farmsync''@''localhost'''));
  END;
  DECLARE EXIT HANDLER FOR 1205
  BEGIN
    SET SESSION lock_wait_timeout = v_wait;
    CALL fail(CONCAT('FS1067: ', v_schema, '.', v_table, ' was in use by a transaction for 10 s, so its triggers ',
                     'can''t be made; try again'));
  END;
  -- Not for prepared statements (MySQL), or not without SUPER while a binary log is written.
  DECLARE EXIT HANDLER FOR 1295, 1419
    SET SESSION lock_wait_timeout = v_wait;
  SELECT table_schema, table_name INTO v_schema, v_table FROM dataset_changes WHERE dataset = p_name;
  SELECT CONCAT('[', GROUP_CONCAT(JSON_QUOTE(name) ORDER BY key_place SEPARATOR ','), ']') INTO v_keys
    FROM dataset_column WHERE dataset = p_name AND key_place > 0;
  CALL drop_triggers(p_name, v_left);
  CALL trigger_bodies(p_name, v_keys, v_insert, v_update, v_delete);
  CALL trigger_sql(p_name, v_schema, v_table, 'INSERT', v_insert, v_insert);
  CALL trigger_sql(p_name, v_schema, v_table, 'UPDATE', v_update, v_update);
  CALL trigger_sql(p_name, v_schema, v_table, 'DELETE', v_delete, v_delete);
  -- CREATE TRIGGER waits for open transactions, and all others on the table wait for it.
  SET SESSION lock_wait_timeout = 10;
  CALL run_sql(v_insert);
  CALL run_sql(v_update);
  CALL run_sql(v_delete);
  SET SESSION lock_wait_timeout = v_wait;
END //

-- Are the options about changes sound? Before anything is made.
DROP PROCEDURE IF EXISTS check_change_options //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE check_change_options(IN p_options LONGTEXT)
  NO SQL
BEGIN
  DECLARE v_type VARCHAR(32) DEFAULT JSON_TYPE(JSON_EXTRACT(p_options, '$.changes'));
  DECLARE v_text TEXT DEFAULT JSON_UNQUOTE(JSON_EXTRACT(p_options, '$.changes'));
  IF v_type = 'OBJECT' THEN
    IF COALESCE(JSON_TYPE(JSON_EXTRACT(p_options, '$.changes.column')), '') <> 'STRING'
       OR JSON_LENGTH(p_options, '$.changes') <> 1 THEN
      SET v_text = NULL;
    END IF;
  ELSEIF v_type <> 'STRING' OR v_text NOT IN ('full', 'triggers') THEN
    SET v_text = NULL;
  END IF;
  IF v_type IS NOT NULL AND v_text IS NULL THEN
    CALL fail('FS1068: the option changes is "full", {"column": "name of a column"} or "triggers"');
  END IF;
  SET v_text = JSON_UNQUOTE(JSON_EXTRACT(p_options, '$.overlap'));
  IF v_text IS NOT NULL AND (v_text NOT REGEXP '^[0-9]{1,12}([.][0-9]{1,6})?$' OR COALESCE(v_type, '') <> 'OBJECT') THEN
    CALL fail('FS1068: the option overlap goes with a change column: seconds, or units of an integer, 0 or more');
  END IF;
  SET v_text = JSON_UNQUOTE(JSON_EXTRACT(p_options, '$.full_every'));
  IF v_text IS NOT NULL AND (v_text NOT REGEXP '^[0-9]{1,8}$' OR v_text < 1 OR v_text > 31536000) THEN
    CALL fail('FS1068: the option full_every is the time between full comparisons: 1 to 31536000 seconds');
  END IF;
END //

-- Prepares what the dataset's way to find changes needs.
DROP PROCEDURE IF EXISTS take_changes //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE take_changes(
  IN p_name VARCHAR(64), IN p_schema VARCHAR(64), IN p_table VARCHAR(64), IN p_options LONGTEXT)
  MODIFIES SQL DATA
BEGIN
  DECLARE v_how TEXT DEFAULT COALESCE(JSON_UNQUOTE(JSON_EXTRACT(p_options, '$.changes')), 'full');
  DECLARE v_column TEXT DEFAULT JSON_UNQUOTE(JSON_EXTRACT(p_options, '$.changes.column'));
  DECLARE v_key_index, v_column_index, v_type VARCHAR(64);
  DECLARE v_problem TEXT;
  DECLARE v_keys LONGTEXT;
  IF v_how <> 'full' THEN
    SET v_how = IF(v_column IS NULL, 'triggers', 'column');
    START TRANSACTION;
    INSERT INTO dataset_changes (dataset, how, table_schema, table_name, change_column, overlap, full_every)
    VALUES (p_name, v_how, p_schema, p_table, v_column, 0,
            COALESCE(JSON_UNQUOTE(JSON_EXTRACT(p_options, '$.full_every')), 3600));
    COMMIT;
    IF v_how = 'triggers' THEN
      SELECT GROUP_CONCAT('`', REPLACE(c.column_name, '`', '``'), '` ', c.column_type,
               COALESCE(CONCAT(' CHARACTER SET ', c.character_set_name, ' COLLATE ', c.collation_name), ''), ' NULL'
               SEPARATOR ', ') INTO v_keys
        FROM information_schema.columns c
        JOIN dataset_column k ON k.dataset = p_name AND k.key_place > 0 AND k.name = c.column_name
       WHERE c.table_schema = 'farmsync' AND c.table_name = CONCAT('data_', p_name);
      CALL run_sql(CONCAT('DROP TABLE IF EXISTS farmsync.`changed_', p_name, '`'));
      CALL run_sql(CONCAT('CREATE TABLE farmsync.`changed_', p_name, '` (fs_note BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, ',
                          v_keys, ') ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4'));
    END IF;
    CALL find_changes(p_name, v_key_index, v_column_index, v_type, v_problem);
    IF v_problem LIKE 'FS1065:%' THEN
      CALL make_triggers(p_name);
      SET v_problem = NULL;
      CALL find_changes(p_name, v_key_index, v_column_index, v_type, v_problem);
    END IF;
    IF v_problem IS NOT NULL THEN
      CALL fail(v_problem);
    END IF;
    START TRANSACTION;
    UPDATE dataset_changes SET overlap = COALESCE(JSON_UNQUOTE(JSON_EXTRACT(p_options, '$.overlap')),
                                                  IF(v_type = 'number', 1000, 300))
     WHERE dataset = p_name;
    COMMIT;
  END IF;
END //

-- For promote_read: how this promotion finds the dataset's changes. p_how: full, column or triggers; p_rows: the
-- rows of the source that are compared, as FROM clause with the alias p; p_only: a condition for them;
-- p_marks: SELECTs that tell what was seen.
DROP PROCEDURE IF EXISTS plan_changes //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE plan_changes(
  IN p_name VARCHAR(64), IN p_ds INT, IN p_source VARCHAR(193), IN p_nulls LONGTEXT,
  OUT p_how VARCHAR(8), OUT p_rows LONGTEXT, OUT p_only LONGTEXT, OUT p_marks LONGTEXT, OUT p_key_index VARCHAR(130))
  MODIFIES SQL DATA
changes: BEGIN
  DECLARE v_how, v_index, v_column_index, v_type, v_newest VARCHAR(64);
  DECLARE v_column VARCHAR(130);
  DECLARE v_problem, v_quoted_keys, v_on LONGTEXT;
  DECLARE v_now, v_local DATETIME(6) DEFAULT UTC_TIMESTAMP(6);
  DECLARE v_due INT;
  DECLARE v_overlap DECIMAL(20,6);
  SET p_how = 'full', p_rows = CONCAT(p_source, ' AS p'), p_only = '', p_marks = '';
  SELECT MAX(how), MAX(REPLACE(change_column, '`', '``')), MAX(newest), MAX(overlap),
         MAX(COALESCE(full_at + INTERVAL full_every SECOND <= v_now, 1))
    INTO v_how, v_column, v_newest, v_overlap, v_due FROM dataset_changes WHERE dataset = p_name;
  IF v_how IS NULL THEN
    LEAVE changes;
  END IF;
  CALL find_changes(p_name, v_index, v_column_index, v_type, v_problem);
  UPDATE dataset_changes SET problem = LEFT(COALESCE(v_problem, ''), 512) WHERE dataset = p_name;
  SET p_key_index = REPLACE(v_index, '`', '``');

  IF v_how = 'triggers' THEN
    SET p_marks = CONCAT(' UNION ALL SELECT ', p_ds, ', ''k'', c.fs_note, NULL, ', p_nulls, ' FROM farmsync.`changed_', p_name,
                         '` AS c');
    IF v_problem IS NULL AND NOT v_due THEN
      SELECT GROUP_CONCAT(quoted SEPARATOR ', '), GROUP_CONCAT('p.', quoted, ' = k.', quoted SEPARATOR ' AND ')
        INTO v_quoted_keys, v_on FROM column_sql WHERE dataset = p_name AND key_place > 0;
      SET p_how = 'triggers';
      SET p_rows = CONCAT('(SELECT DISTINCT ', v_quoted_keys, ' FROM farmsync.`changed_', p_name, '`) AS k STRAIGHT_JOIN ',
                          p_source, ' AS p FORCE INDEX (`', p_key_index, '`) ON ', v_on);
    END IF;
  ELSEIF v_problem IS NULL THEN
    -- A time in the future, as from a wrong clock or before the end of summer time, would hide what follows it.
    SET v_local = COALESCE(CONVERT_TZ(v_now, '+00:00', @@GLOBAL.time_zone), v_now);
    SET p_marks = CONCAT(' UNION ALL SELECT ', p_ds, ', ''m'', NULL, ',
      IF(v_type = 'number', CONCAT('(SELECT MAX(p.`', v_column, '`) FROM ', p_source, ' AS p)'),
         CONCAT('LEAST((SELECT MAX(p.`', v_column, '`) FROM ', p_source, ' AS p), ''',
                IF(v_type = 'timestamp', v_now, GREATEST(v_now, v_local)), ''')')), ', ', p_nulls);
    IF v_type = 'number' THEN
      SET v_newest = CAST(v_newest AS DECIMAL(65,0)) - v_overlap;
    ELSE
      SET v_newest = CAST(IF(v_newest > '1970', v_newest, NULL) AS DATETIME(6)) - INTERVAL v_overlap SECOND;
      SET v_newest = IF(v_newest > '1970-01-02', CONCAT('''', v_newest, ''''), NULL);
    END IF;
    IF v_newest IS NOT NULL AND NOT v_due THEN
      SET p_how = 'column', p_only = CONCAT('p.`', v_column, '` >= ', v_newest, ' AND ');
      SET p_rows = CONCAT(p_source, ' AS p FORCE INDEX (`', REPLACE(v_column_index, '`', '``'), '`)');
    END IF;
  END IF;
END //

-- For promote_work: what this promotion has seen needn't be looked at again.
DROP PROCEDURE IF EXISTS changes_seen //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE changes_seen(IN p_name VARCHAR(64), IN p_ds INT)
  MODIFIES SQL DATA
BEGIN
  DECLARE v_how VARCHAR(8);
  SELECT MAX(how) INTO v_how FROM dataset_changes WHERE dataset = p_name;
  IF v_how IS NOT NULL THEN
    IF v_how = 'triggers' THEN
      -- By primary key, note by note: a scan would meet the notes of transactions that are still open.
      CALL run_sql(CONCAT('DELETE c FROM farmsync.difference AS t STRAIGHT_JOIN farmsync.`changed_', p_name,
        '` AS c FORCE INDEX (PRIMARY) ON c.fs_note = t.number WHERE t.ds = ', p_ds, ' AND t.op = ''k'''));
    END IF;
    CALL run_sql(CONCAT('SELECT MAX(IF(op = ''m'', newest, NULL)), COALESCE(MAX(op = ''t''), 0) INTO @farmsync_text, ',
      '@farmsync_count FROM farmsync.difference WHERE ds = ', p_ds, ' AND op IN (''m'', ''t'')'));
    UPDATE dataset_changes SET newest = COALESCE(@farmsync_text, newest),
                               full_at = IF(@farmsync_count, UTC_TIMESTAMP(6), full_at)
     WHERE dataset = p_name;
  END IF;
END //

DELIMITER ;
