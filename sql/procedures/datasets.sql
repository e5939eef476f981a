-- SPDX-License-Identifier: Apache-2.0
-- Datasets come and go, and what is pending of them.
-- Loaded by ../procedures.sql, which sets the mode that procedures keep.
DELIMITER //

-- The view `pending` has one line per dataset; it is made anew when a dataset comes or goes.
DROP PROCEDURE IF EXISTS make_pending //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE make_pending()
  MODIFIES SQL DATA
BEGIN
  DECLARE v_length BIGINT DEFAULT @@SESSION.group_concat_max_len;
  DECLARE v_sql LONGTEXT;
  CALL make_scheduled();
  SET SESSION group_concat_max_len = 16777216;
  SELECT GROUP_CONCAT('SELECT ', QUOTE(group_name), ' AS group_name, ', QUOTE(name), ' AS dataset, ',
           'CAST(COALESCE(SUM(fs_change = ''new''), 0) AS SIGNED) AS new_rows, ',
           'CAST(COALESCE(SUM(fs_change = ''changed''), 0) AS SIGNED) AS changed_rows, ',
           'CAST(COALESCE(SUM(fs_change = ''gone''), 0) AS SIGNED) AS gone_rows, ',
           IF(schedule_types IS NULL, 'NULL', CONCAT('(SELECT MIN(m.at) FROM farmsync.scheduled AS m WHERE m.dataset = ',
              QUOTE(name), ')')), ' AS next_scheduled, ',
           IF(schedule_types IS NULL, '0', CONCAT('(SELECT CAST(COALESCE(SUM(m.starts + m.ends), 0) AS SIGNED) FROM ',
              'farmsync.scheduled AS m WHERE m.dataset = ', QUOTE(name), ')')), ' AS scheduled_rows ',
           'FROM farmsync.`pending_', name, '`' ORDER BY group_name, name SEPARATOR ' UNION ALL ')
    INTO v_sql FROM dataset WHERE dropped = 0;
  SET SESSION group_concat_max_len = v_length;
  CALL run_sql(CONCAT('CREATE OR REPLACE DEFINER = ''farmsync''@''localhost'' SQL SECURITY DEFINER VIEW ',
    'farmsync.pending AS ', COALESCE(v_sql, CONCAT(
      'SELECT group_name, group_name AS dataset, 0 AS new_rows, 0 AS changed_rows, 0 AS gone_rows, ',
      'activation_time AS next_scheduled, 0 AS scheduled_rows ',
      'FROM farmsync.sync WHERE FALSE'))));
END //

-- Makes the views of a dataset from what dataset and dataset_column say.
DROP PROCEDURE IF EXISTS make_views //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE make_views(IN p_name VARCHAR(64))
  MODIFIES SQL DATA
BEGIN
  DECLARE v_length BIGINT DEFAULT @@SESSION.group_concat_max_len;
  DECLARE v_columns, v_read, v_same, v_on, v_keys, v_keys_p, v_rows, v_only, v_due, v_doubles LONGTEXT;
  DECLARE v_join, v_time TEXT;
  DECLARE v_group VARCHAR(64);
  DECLARE v_source VARCHAR(193);
  DECLARE v_head VARCHAR(255) DEFAULT 'CREATE OR REPLACE DEFINER = ''farmsync''@''localhost'' SQL SECURITY DEFINER VIEW ';
  SET SESSION group_concat_max_len = 16777216;
  SELECT group_name, source INTO v_group, v_source FROM dataset WHERE name = p_name;
  SELECT GROUP_CONCAT('d.', quoted ORDER BY place SEPARATOR ', '),
         GROUP_CONCAT(read_sql, ' AS ', quoted ORDER BY place SEPARATOR ', '),
         GROUP_CONCAT(same_sql ORDER BY place SEPARATOR ' AND ')
    INTO v_columns, v_read, v_same FROM column_sql WHERE dataset = p_name;
  SELECT GROUP_CONCAT('d.', quoted, ' = ', read_sql ORDER BY key_place SEPARATOR ' AND '),
         GROUP_CONCAT('d.', quoted ORDER BY key_place SEPARATOR ', '),
         CONCAT('SELECT ', GROUP_CONCAT(read_sql ORDER BY key_place SEPARATOR ', '), ' FROM ', v_source,
                ' AS p WHERE ', GROUP_CONCAT('p.', quoted, ' IS NOT NULL' SEPARATOR ' AND '))
    INTO v_on, v_keys, v_keys_p FROM column_sql WHERE dataset = p_name AND key_place > 0;
  SET v_rows = CONCAT(v_source, ' AS p'), v_only = '';
  -- What is staged is compared with what is right at its moment, else with what is right when it's looked at next.
  SET v_join = CONCAT('JOIN farmsync.sync AS s ON s.group_name = ', QUOTE(v_group));
  SET v_time = CONCAT('GREATEST(UTC_TIMESTAMP(6), IF(s.version <> s.active_version, COALESCE(s.content_time, UTC_TIMESTAMP(6)), ',
                      's.activation_time))');
  CALL plan_schedule(p_name, v_source, v_time, v_join, 1, v_rows, v_only, v_due, v_doubles);
  IF v_due IS NOT NULL THEN
    SET v_keys_p = CONCAT(REPLACE(v_keys_p, ' AS p WHERE ', CONCAT(' AS p ', v_join, ' WHERE ')), ' AND ', v_due);
  END IF;
  SET SESSION group_concat_max_len = v_length;
  CALL run_sql(CONCAT(v_head, 'farmsync.`staged_', p_name, '` AS SELECT ', v_columns,
    ' FROM farmsync.sync AS s JOIN farmsync.`data_', p_name, '` AS d WHERE s.group_name = ', QUOTE(v_group),
    ' AND d.fs_from <= s.version AND d.fs_to > s.version'));
  CALL run_sql(CONCAT(v_head, 'farmsync.`active_', p_name, '` AS SELECT ', v_columns,
    ' FROM farmsync.sync AS s JOIN farmsync.`data_', p_name, '` AS d WHERE s.group_name = ', QUOTE(v_group),
    ' AND d.fs_from <= IF(UTC_TIMESTAMP(6) < s.activation_time, s.active_version, s.version)',
    ' AND d.fs_to > IF(UTC_TIMESTAMP(6) < s.activation_time, s.active_version, s.version)'));
  CALL run_sql(CONCAT(v_head, 'farmsync.`pending_', p_name, '` AS SELECT ',
    'IF(d.fs_from IS NULL, ''new'', ''changed'') AS fs_change, ', v_read, ' FROM ', v_rows,
    ' LEFT JOIN farmsync.`data_', p_name, '` AS d FORCE INDEX (PRIMARY) ON ', v_on,
    ' AND d.fs_to = 9223372036854775807 WHERE ', v_only, '(d.fs_from IS NULL OR NOT (', v_same, '))',
    ' UNION ALL SELECT ''gone'', ', v_columns, ' FROM farmsync.`data_', p_name,
    '` AS d WHERE d.fs_to = 9223372036854775807 AND (', v_keys, ') NOT IN (', v_keys_p, ')'));
END //

-- Makes a table or view of the user's a dataset: add_dataset('prices', 'shop.price', 'sku').
DROP PROCEDURE IF EXISTS add_dataset //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE add_dataset(
  IN p_name VARCHAR(255), IN p_source TEXT, IN p_keys TEXT)
  MODIFIES SQL DATA
BEGIN
  CALL add_dataset_with(p_name, p_source, p_keys, NULL);
END //

-- The same with options, a JSON object: {"group": "default", "columns": ["sku", "price"], "json": ["tags"]}
-- columns: only these of the source's; json: text columns of a view that hold JSON; changes, overlap, full_every: how
-- changes are found, see changes.sql; activate_column, expire_column: from when and until when a row counts, see schedule.sql.
-- The name is claimed by a row of its own first, so that two who add the same name at once, on two nodes of
-- a cluster, can't take each other's tables; whatever fails after that is undone.
DROP PROCEDURE IF EXISTS add_dataset_with //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE add_dataset_with(
  IN p_name VARCHAR(255), IN p_source TEXT, IN p_keys TEXT, IN p_options LONGTEXT)
  MODIFIES SQL DATA
BEGIN
  DECLARE v_group VARCHAR(255) DEFAULT 'default';
  DECLARE v_dropped, v_purged TINYINT DEFAULT NULL;
  DECLARE v_other VARCHAR(64);
  DECLARE v_text TEXT;
  DECLARE v_length BIGINT DEFAULT @@SESSION.group_concat_max_len;
  DECLARE EXIT HANDLER FOR SQLEXCEPTION
  BEGIN
    SET SESSION group_concat_max_len = v_length;
    ROLLBACK;
    RESIGNAL;
  END;

  IF COALESCE(p_name, '') NOT REGEXP '^[A-Za-z0-9_]{1,48}$' THEN
    CALL fail(CONCAT('FS1010: ''', COALESCE(p_name, 'NULL'),
                     ''' can''t be a dataset''s name; use 1 to 48 letters, digits and _'));
  END IF;
  IF p_options IS NOT NULL THEN
    IF NOT JSON_VALID(p_options) OR JSON_TYPE(p_options) <> 'OBJECT' THEN
      CALL fail('FS1014: the options must be a JSON object, like {"group": "default"}');
    END IF;
    SELECT MIN(o.k) INTO v_text FROM JSON_TABLE(JSON_KEYS(p_options), '$[*]' COLUMNS (k VARCHAR(255) PATH '$')) AS o
     WHERE o.k NOT IN ('group', 'columns', 'json', 'changes', 'overlap', 'full_every',
                       'activate_column', 'expire_column');
    IF v_text IS NOT NULL THEN
      CALL fail(CONCAT('FS1014: there is no option "', v_text,
                       '"; there are group, columns, json, changes, overlap, full_every, activate_column and ',
                       'expire_column'));
    END IF;
    IF COALESCE(JSON_TYPE(JSON_EXTRACT(p_options, '$.columns')), 'ARRAY') <> 'ARRAY'
       OR COALESCE(JSON_TYPE(JSON_EXTRACT(p_options, '$.json')), 'ARRAY') <> 'ARRAY' THEN
      CALL fail('FS1014: the options columns and json are arrays of column names');
    END IF;
    CALL check_change_options(p_options);
    CALL check_schedule_options(p_options);
    SET v_group = COALESCE(JSON_UNQUOTE(JSON_EXTRACT(p_options, '$.group')), v_group);
  END IF;
  CALL need_group(v_group);
  SELECT MAX(name), MAX(dropped) INTO v_other, v_dropped FROM dataset WHERE LOWER(name) = LOWER(p_name);
  IF v_dropped = 1 AND v_other = p_name THEN
    CALL purge_dataset(p_name, v_purged);
    IF NOT v_purged THEN
      CALL fail(CONCAT('FS1012: ', p_name, ' was dropped, but is in force until the next activation; ',
                       'add it again after that, or under another name'));
    END IF;
  ELSEIF v_dropped = 2 THEN
    CALL fail(CONCAT('FS1013: ', v_other, ' is being added by another session; if that was broken off, CALL ',
                     'farmsync.drop_dataset(''', v_other, ''')'));
  ELSEIF v_dropped IS NOT NULL THEN
    CALL fail(CONCAT('FS1011: there is a dataset ', v_other, ' already; CALL farmsync.drop_dataset(''',
                     v_other, ''') first, or use another name'));
  END IF;

  SET SESSION group_concat_max_len = 16777216;
  BEGIN
    DECLARE EXIT HANDLER FOR 1062
      CALL fail(CONCAT('FS1013: ', p_name, ' is being added by another session'));
    START TRANSACTION;
    INSERT INTO dataset (name, group_name, source, key_columns, `columns`, options, dropped, added_at)
    VALUES (p_name, v_group, '', '[]', '[]', p_options, 2, UTC_TIMESTAMP(6));
    COMMIT;
  END;
  BEGIN
    DECLARE EXIT HANDLER FOR SQLEXCEPTION
    BEGIN
      CALL undo_dataset(p_name);
      RESIGNAL;
    END;
    CALL add_dataset_work(p_name, p_source, p_keys, p_options);
    START TRANSACTION;
    CALL take_group(v_group);
    UPDATE dataset SET dropped = 0 WHERE name = p_name;
    -- A group that has nothing yet needn't wait for its first cycle.
    UPDATE sync SET activation_time = UTC_TIMESTAMP(6) WHERE group_name = v_group AND version = 0;
    SELECT CONCAT(source, ' key ', key_columns) INTO v_text FROM dataset WHERE name = p_name;
    CALL note(v_group, 'add_dataset', NULL, CONCAT(p_name, ' from ', v_text));
    COMMIT;
  END;
  CALL make_pending();
  SET SESSION group_concat_max_len = v_length;
END //

-- Removes what an addition that failed has left.
DROP PROCEDURE IF EXISTS undo_dataset //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE undo_dataset(IN p_name VARCHAR(64))
  MODIFIES SQL DATA
BEGIN
  DECLARE v_left TEXT;
  ROLLBACK;
  CALL drop_triggers(p_name, v_left);
  CALL run_sql(CONCAT('DROP VIEW IF EXISTS farmsync.`staged_', p_name, '`, farmsync.`active_', p_name,
                      '`, farmsync.`pending_', p_name, '`'));
  CALL run_sql(CONCAT('DROP TABLE IF EXISTS farmsync.`data_', p_name, '`, farmsync.`changed_', p_name, '`'));
  START TRANSACTION;
  DELETE FROM dataset_changes WHERE dataset = p_name;
  DELETE FROM dataset_column WHERE dataset = p_name;
  DELETE FROM dataset WHERE name = p_name AND dropped = 2;
  COMMIT;
END //

-- The dataset leaves the farm with the next version; what is in force now stays until then. If its triggers can't
-- be removed by a procedure, the answer is the statements that do it.
DROP PROCEDURE IF EXISTS drop_dataset //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE drop_dataset(IN p_name VARCHAR(255))
  MODIFIES SQL DATA
BEGIN
  DECLARE v_group VARCHAR(64);
  DECLARE v_dropped, v_purged TINYINT;
  DECLARE v_left TEXT;
  DECLARE EXIT HANDLER FOR SQLEXCEPTION
  BEGIN
    ROLLBACK;
    RESIGNAL;
  END;
  SELECT MAX(group_name), MAX(dropped) INTO v_group, v_dropped FROM dataset WHERE name = p_name;
  IF v_dropped IS NULL OR v_dropped = 1 THEN
    CALL fail(CONCAT('FS1029: there is no dataset ''', COALESCE(p_name, 'NULL'),
                     '''; see SELECT name FROM farmsync.dataset'));
  ELSEIF v_dropped = 2 THEN
    CALL undo_dataset(p_name);
  ELSE
    START TRANSACTION;
    CALL take_group(v_group);
    SELECT MIN(CONCAT(dataset, ' ', name)) INTO v_left FROM dataset_check c
     WHERE other = p_name AND dataset <> p_name
       AND EXISTS (SELECT 1 FROM dataset d WHERE d.name = c.dataset AND d.dropped = 0);
    IF v_left IS NOT NULL THEN
      CALL fail(CONCAT('FS1107: dataset ', p_name, ' stays: check ', v_left, ' refers to it; CALL farmsync.drop_check(''',
                       REPLACE(v_left, ' ', ''', '''), ''') first'));
    END IF;
    UPDATE dataset SET dropped = 1 WHERE name = p_name;
    CALL note(v_group, 'drop_dataset', NULL, p_name);
    COMMIT;
    CALL make_pending();
    CALL drop_triggers(p_name, v_left);
    CALL purge_dataset(p_name, v_purged);
    IF v_left IS NOT NULL THEN
      SELECT v_left AS run_this;
    END IF;
  END IF;
END //

-- What the next promotion would change, dataset by dataset: also where one of the sources is broken, with
-- which the view `pending` can't be read.
DROP PROCEDURE IF EXISTS show_pending //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE show_pending(IN p_group VARCHAR(255))
  MODIFIES SQL DATA
BEGIN
  DECLARE v_done INT DEFAULT 0;
  DECLARE v_name VARCHAR(64);
  DECLARE v_result, v_text LONGTEXT;
  DECLARE v_next DATETIME(6);
  DECLARE v_scheduled BIGINT;
  DECLARE v_each CURSOR FOR
    SELECT name FROM dataset WHERE group_name = p_group AND dropped = 0 ORDER BY name;
  DECLARE CONTINUE HANDLER FOR NOT FOUND SET v_done = 1;
  CALL need_group(p_group);
  SET v_result = JSON_ARRAY();
  OPEN v_each;
  each_dataset: LOOP
    FETCH v_each INTO v_name;
    IF v_done THEN
      LEAVE each_dataset;
    END IF;
    BEGIN
      DECLARE EXIT HANDLER FOR SQLEXCEPTION
      BEGIN
        GET DIAGNOSTICS CONDITION 1 v_text = MESSAGE_TEXT;
        SET v_result = JSON_ARRAY_APPEND(v_result, '$', JSON_OBJECT('d', v_name, 'p', v_text));
      END;
      CALL run_sql(CONCAT('SELECT COALESCE(SUM(fs_change = ''new''), 0), COALESCE(SUM(fs_change = ''changed''), 0), ',
        'COALESCE(SUM(fs_change = ''gone''), 0) INTO @farmsync_new, @farmsync_changed, @farmsync_gone ',
        'FROM farmsync.`pending_', v_name, '`'));
      CALL count_scheduled(v_name, v_next, v_scheduled);
      SET v_result = JSON_ARRAY_APPEND(v_result, '$', JSON_OBJECT('d', v_name, 'n', @farmsync_new, 'c', @farmsync_changed,
                                       'g', @farmsync_gone, 't', CAST(v_next AS CHAR), 's', v_scheduled));
    END;
  END LOOP;
  CLOSE v_each;
  SELECT p_group AS group_name, j.* FROM JSON_TABLE(v_result, '$[*]' COLUMNS (
    dataset VARCHAR(64) PATH '$.d', new_rows BIGINT PATH '$.n', changed_rows BIGINT PATH '$.c',
    gone_rows BIGINT PATH '$.g', problem VARCHAR(512) PATH '$.p', next_scheduled DATETIME(6) PATH '$.t',
    scheduled_rows BIGINT PATH '$.s')) AS j;
END //

DELIMITER ;
