-- SPDX-License-Identifier: Apache-2.0
-- The promotion: promote, promote_image, promote_done, promote_failed. How it works stands in the head of
-- ../procedures.sql.
-- Loaded by ../procedures.sql, which sets the mode that procedures keep.
DELIMITER //

-- Refuses to work where a promotion would be half done or would lock the shop's rows.
DROP PROCEDURE IF EXISTS promote_check //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE promote_check()
  MODIFIES SQL DATA
BEGIN
  DECLARE v_isolation VARCHAR(32);
  BEGIN
    -- Without a transaction a savepoint is gone at the end of its own statement.
    DECLARE EXIT HANDLER FOR 1305
      CALL fail('FS1001: promote works inside a transaction only: START TRANSACTION first');
    SAVEPOINT farmsync_promote;
    RELEASE SAVEPOINT farmsync_promote;
  END;
  SET v_isolation = /*!80000 @@SESSION.transaction_isolation */ /*M! @@SESSION.tx_isolation */;
  IF v_isolation <> 'READ-COMMITTED' THEN
    CALL fail(CONCAT('FS1002: promote needs READ COMMITTED, this session has ', v_isolation,
                     ': SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED first'));
  END IF;
  IF @@GLOBAL.log_bin AND @@SESSION.binlog_format = 'STATEMENT' THEN
    CALL fail('FS1008: this database writes its binary log as statements, which InnoDB refuses at READ COMMITTED: set binlog_format = ROW');
  END IF;
END //

-- Fills the temporary table `difference`: ds = place of the dataset in the order of names; op: 'n' new,
-- 'c' changed, 'g' gone ('c' and 'g': number = fs_from of the row that ends); of a full comparison 't' number =
-- rows in all; 'k' number = id of a note of the triggers; 'm' newest = newest value of the change column; 'x' a key
-- that a schedule has twice for one time. p_time: what is right then is read, where a dataset has a schedule.
DROP PROCEDURE IF EXISTS promote_read //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE promote_read(IN p_group VARCHAR(64), IN p_time DATETIME(6))
  MODIFIES SQL DATA
BEGIN
  DECLARE v_done, v_errno, v_ds INT DEFAULT 0;
  DECLARE v_name VARCHAR(64);
  DECLARE v_source VARCHAR(193);
  DECLARE v_text TEXT;
  DECLARE v_slots, v_sql, v_values, v_same, v_on, v_keys_p, v_keys_d, v_set, v_nulls LONGTEXT;
  DECLARE v_rows, v_only, v_marks, v_gone, v_keys, v_d_is_k, v_p_is_k, v_no_p, v_data, v_head, v_due, v_doubles LONGTEXT;
  DECLARE v_how VARCHAR(8);
  DECLARE v_key_index VARCHAR(130);
  DECLARE v_each CURSOR FOR
    SELECT name, source FROM dataset WHERE group_name = p_group AND dropped = 0 ORDER BY name;
  DECLARE CONTINUE HANDLER FOR NOT FOUND SET v_done = 1;

  CALL compare_in_full(p_group);
  SELECT GROUP_CONCAT(DISTINCT c.slot, ' ', c.carrier, ' NULL' ORDER BY c.slot SEPARATOR ', '),
         GROUP_CONCAT(DISTINCT c.slot ORDER BY c.slot SEPARATOR ', ')
    INTO v_sql, v_slots
    FROM column_sql c JOIN dataset d ON d.name = c.dataset
   WHERE d.group_name = p_group AND d.dropped = 0;
  DROP TEMPORARY TABLE IF EXISTS difference;
  CALL run_sql(CONCAT('CREATE TEMPORARY TABLE farmsync.difference (ds INT NOT NULL, op CHAR(1) ',
    'CHARACTER SET ascii NOT NULL, number BIGINT NULL, newest VARCHAR(64) NULL, ', v_sql, ', KEY (ds, op)) ENGINE=InnoDB'));

  SET v_sql = '';
  OPEN v_each;
  each_dataset: LOOP
    FETCH v_each INTO v_name, v_source;
    IF v_done THEN
      LEAVE each_dataset;
    END IF;
    SET v_ds = v_ds + 1;
    SELECT GROUP_CONCAT(COALESCE(c.read_sql, 'NULL') ORDER BY s.slot SEPARATOR ', '),
           GROUP_CONCAT(IF(c.key_place > 0, CONCAT('d.', c.quoted), 'NULL') ORDER BY s.slot SEPARATOR ', '),
           GROUP_CONCAT('NULL' SEPARATOR ', ')
      INTO v_values, v_keys_d, v_nulls
      FROM (SELECT DISTINCT c1.slot FROM dataset_column c1 JOIN dataset d1 ON d1.name = c1.dataset
             WHERE d1.group_name = p_group AND d1.dropped = 0) s
      LEFT JOIN column_sql c ON c.dataset = v_name AND c.slot = s.slot;
    SELECT GROUP_CONCAT(same_sql ORDER BY key_place > 0, place SEPARATOR ' AND ') INTO v_same
      FROM column_sql WHERE dataset = v_name;
    SELECT GROUP_CONCAT('d.', quoted, ' = ', read_sql ORDER BY key_place SEPARATOR ' AND '),
           GROUP_CONCAT('d.', quoted ORDER BY key_place SEPARATOR ', '),
           CONCAT('SELECT ', GROUP_CONCAT(read_sql ORDER BY key_place SEPARATOR ', '), ' FROM ', v_source,
                  ' AS p WHERE ', GROUP_CONCAT('p.', quoted, ' IS NOT NULL' SEPARATOR ' AND ')),
           GROUP_CONCAT(quoted ORDER BY key_place SEPARATOR ', '),
           GROUP_CONCAT('d.', quoted, ' = k.', quoted SEPARATOR ' AND '),
           GROUP_CONCAT('p.', quoted, ' = k.', quoted SEPARATOR ' AND '), MIN(CONCAT('p.', quoted, ' IS NULL'))
      INTO v_on, v_set, v_keys_p, v_keys, v_d_is_k, v_p_is_k, v_no_p
      FROM column_sql WHERE dataset = v_name AND key_place > 0;
    CALL plan_changes(v_name, v_ds, v_source, v_nulls, v_how, v_rows, v_only, v_marks, v_key_index);
    CALL plan_schedule(v_name, v_source, CONCAT('''', p_time, ''''), NULL, 0, v_rows, v_only, v_due, v_doubles);
    SET v_data = CONCAT('farmsync.`data_', v_name, '` AS d');
    SET v_head = CONCAT(' UNION ALL SELECT ', v_ds, ', ''g'', d.fs_from, NULL, ', v_keys_d, ' FROM ');
    IF v_due IS NOT NULL THEN
      SET v_gone = CONCAT(v_head, v_data, ' WHERE d.fs_to = 9223372036854775807 AND (', v_set, ') NOT IN (', v_keys_p, ' AND ',
        v_due, ') UNION ALL SELECT ', v_ds, ', ''x'', NULL, NULL, ', v_keys_d, ' FROM (', v_doubles, ') AS d');
    ELSEIF v_how = 'full' THEN
      SET v_gone = CONCAT(v_head, v_data, ' WHERE d.fs_to = 9223372036854775807 AND (', v_set, ') NOT IN (', v_keys_p,
        ') UNION ALL SELECT ', v_ds, ', ''t'', COUNT(*), NULL, ', v_nulls, ' FROM ', v_source, ' AS p');
    ELSE
      -- TRUNCATE leaves no trace but an empty table.
      SET v_gone = CONCAT(v_head, v_data, ' WHERE d.fs_to = 9223372036854775807 AND NOT EXISTS (SELECT 1 FROM ',
                          v_source, ' LIMIT 1)');
      IF v_how = 'triggers' THEN
        SET v_gone = CONCAT(v_gone, v_head, '(SELECT DISTINCT ', v_keys, ' FROM farmsync.`changed_', v_name,
          '`) AS k STRAIGHT_JOIN ', v_data, ' FORCE INDEX (PRIMARY) ON ', v_d_is_k,
          ' AND d.fs_to = 9223372036854775807 LEFT JOIN ', v_source, ' AS p FORCE INDEX (`', v_key_index, '`) ON ', v_p_is_k,
          ' WHERE ', v_no_p, ' AND EXISTS (SELECT 1 FROM ', v_source, ' LIMIT 1)');
      END IF;
    END IF;
    SET v_sql = CONCAT(v_sql, IF(v_sql = '', '', ' UNION ALL '),
      'SELECT ', v_ds, ', IF(d.fs_from IS NULL, ''n'', ''c''), d.fs_from, NULL, ', v_values,
      ' FROM ', v_rows, ' LEFT JOIN ', v_data, ' FORCE INDEX (PRIMARY) ON ', v_on,
      ' AND d.fs_to = 9223372036854775807 WHERE ', v_only, '(d.fs_from IS NULL OR NOT (', v_same, '))', v_gone, v_marks);
  END LOOP;
  CLOSE v_each;

  BEGIN
    DECLARE EXIT HANDLER FOR SQLEXCEPTION
    BEGIN
      GET DIAGNOSTICS CONDITION 1 v_errno = MYSQL_ERRNO, v_text = MESSAGE_TEXT;
      IF v_errno IN (1020, 1047, 1205, 1213, 1317, 1927, 3101, 4094) THEN
        RESIGNAL;
      END IF;
      CALL fail(CONCAT('FS1033: the production data can''t be read: ', v_text,
                       '; repair the table or view, or CALL farmsync.drop_dataset'));
    END;
    CALL run_sql(CONCAT('INSERT INTO farmsync.difference (ds, op, number, newest, ', v_slots, ') ', v_sql));
  END;
END //

-- Brings what `difference` holds of one dataset into its version table as version p_version.
DROP PROCEDURE IF EXISTS promote_apply //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE promote_apply(
  IN p_name VARCHAR(64), IN p_ds INT, IN p_version BIGINT, OUT p_changes BIGINT)
  MODIFIES SQL DATA
BEGIN
  DECLARE v_errno INT;
  DECLARE v_text TEXT;
  DECLARE v_source VARCHAR(193);
  DECLARE v_quoted, v_slots, v_key_slots, v_null, v_keys LONGTEXT;
  DECLARE v_total BIGINT;
  DECLARE EXIT HANDLER FOR 1062
  BEGIN
    GET DIAGNOSTICS CONDITION 1 v_text = MESSAGE_TEXT;
    CALL fail(CONCAT('FS1031: dataset ', p_name, ': two rows of ', v_source, ' have the same key: ', v_text,
                     '; remove one'));
  END;
  DECLARE EXIT HANDLER FOR SQLEXCEPTION
  BEGIN
    GET DIAGNOSTICS CONDITION 1 v_errno = MYSQL_ERRNO, v_text = MESSAGE_TEXT;
    IF v_errno IN (1020, 1047, 1205, 1213, 1317, 1644, 1927, 3101, 4094) THEN
      RESIGNAL;
    END IF;
    CALL fail(CONCAT('FS1032: dataset ', p_name, ': ', v_text, '; if ', v_source,
                     ' has been altered, drop_dataset and add_dataset take its new form'));
  END;

  SELECT source INTO v_source FROM dataset WHERE name = p_name;
  SELECT GROUP_CONCAT(quoted ORDER BY place SEPARATOR ', '),
         GROUP_CONCAT('t.', slot ORDER BY place SEPARATOR ', ')
    INTO v_quoted, v_slots FROM column_sql WHERE dataset = p_name;
  SELECT GROUP_CONCAT('t.', slot ORDER BY key_place SEPARATOR ', '),
         GROUP_CONCAT('t.', slot, ' IS NULL' SEPARATOR ' OR '),
         GROUP_CONCAT(quoted ORDER BY key_place SEPARATOR ', ')
    INTO v_key_slots, v_null, v_keys FROM column_sql WHERE dataset = p_name AND key_place > 0;

  CALL check_doubles(p_name, p_ds);
  CALL run_sql(CONCAT('SELECT COUNT(*), SUM(t.op = ''n'' AND (', v_null, ')) INTO @farmsync_changes, ',
    '@farmsync_nulls FROM farmsync.difference t WHERE t.ds = ', p_ds, ' AND t.op IN (''n'', ''c'', ''g'')'));
  SET p_changes = @farmsync_changes;
  IF @farmsync_nulls > 0 THEN
    CALL fail(CONCAT('FS1030: dataset ', p_name, ': ', @farmsync_nulls, ' rows of ', v_source,
                     ' have NULL in the key ', v_keys, '; give them a key or remove them'));
  END IF;
  IF p_changes > 0 THEN
    -- Ends rows by their primary key. An UPDATE that joins both tables would first collect their places in
    -- a temporary table, three times slower.
    CALL run_sql(CONCAT('INSERT INTO farmsync.`data_', p_name, '` (fs_from, fs_to, ', v_keys, ') SELECT t.number, ',
      p_version, ', ', v_key_slots, ' FROM farmsync.difference t WHERE t.ds = ', p_ds,
      ' AND t.op IN (''c'', ''g'') ON DUPLICATE KEY UPDATE fs_to = ', p_version));
    CALL run_sql(CONCAT('INSERT INTO farmsync.`data_', p_name, '` (fs_from, fs_to, ', v_quoted, ') SELECT ',
      p_version, ', 9223372036854775807, ', v_slots, ' FROM farmsync.difference t WHERE t.ds = ', p_ds,
      ' AND t.op IN (''n'', ''c'')'));
  END IF;
  -- A second row with the key of an unchanged one is no new and no changed row; the count tells. Where the
  -- source wasn't compared in full its key is a unique index.
  CALL run_sql(CONCAT('SELECT MAX(number) INTO @farmsync_total FROM farmsync.difference t WHERE t.ds = ', p_ds,
                      ' AND t.op = ''t'''));
  SET @farmsync_doubles = 0;
  IF @farmsync_total IS NOT NULL THEN
    CALL run_sql(CONCAT('SELECT @farmsync_total - COUNT(*) INTO @farmsync_doubles FROM farmsync.`data_', p_name,
                        '` WHERE fs_to = 9223372036854775807'));
  END IF;
  IF @farmsync_doubles <> 0 THEN
    CALL fail(CONCAT('FS1031: dataset ', p_name, ': ', @farmsync_doubles, ' rows of ', v_source,
                     ' have a key that another row has (', v_keys, '); remove them'));
  END IF;
END //

DROP PROCEDURE IF EXISTS promote_work //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE promote_work(
  IN p_group VARCHAR(64), IN p_epoch BIGINT, IN p_who VARCHAR(128))
  MODIFIES SQL DATA
promotion: BEGIN
  DECLARE v_done, v_ds, v_staged, v_datasets INT DEFAULT 0;
  DECLARE v_version, v_changes, v_rows BIGINT DEFAULT 0;
  DECLARE v_return BIGINT;
  DECLARE v_name VARCHAR(64);
  DECLARE v_next, v_time, v_before, v_since DATETIME(6);
  DECLARE v_detail VARCHAR(1024) DEFAULT '';
  DECLARE v_waits TEXT;
  DECLARE v_comment VARCHAR(512);
  DECLARE v_late, v_text TEXT;
  DECLARE v_each CURSOR FOR
    SELECT name FROM dataset WHERE group_name = p_group AND dropped = 0 ORDER BY name;
  DECLARE CONTINUE HANDLER FOR NOT FOUND SET v_done = 1;

  -- The row is taken before the savepoint, so that a promotion that is refused keeps it: ROLLBACK TO SAVEPOINT
  -- farmsync_refused, then promote_failed. Were it let go, those who wait for it would do the same work in vain, one
  -- after the other, and the refusal would never be entered.
  SELECT MAX(promoted_at) INTO v_before FROM sync WHERE group_name = p_group FOR UPDATE;
  SAVEPOINT farmsync_refused;
  -- The compare-and-swap: first of all, in the transaction of the work. Whoever else tries meets this row.
  UPDATE sync SET epoch = epoch + 1, active_version = version, promoted_by = p_who,
                  promoted_at = UTC_TIMESTAMP(6), state = 'running', reason = '', promoting = 0
   WHERE group_name = p_group AND epoch = p_epoch AND state <> 'held' AND pinned_version IS NULL
     AND activation_time <= UTC_TIMESTAMP(6);
  IF ROW_COUNT() <> 1 THEN
    SELECT 'lost' AS outcome, COALESCE(MAX(version), 0) AS version, 0 AS rows_changed
      FROM sync WHERE group_name = p_group;
    LEAVE promotion;
  END IF;
  SELECT version, return_to, content_time INTO v_version, v_return, v_since FROM sync WHERE group_name = p_group;
  IF v_return IS NOT NULL THEN
    CALL return_ordered(p_group);
    LEAVE promotion;
  END IF;

  -- The set of datasets itself may have changed; a version whose images are not all there is repeated.
  CALL datasets_moved(p_group, v_version, v_staged);
  CALL promote_time(p_group, IF(v_version > 0, v_since, NULL), UTC_TIMESTAMP(6), v_time);
  SELECT COUNT(*) INTO v_datasets FROM dataset WHERE group_name = p_group AND dropped = 0;
  IF v_datasets > 0 THEN
    CALL promote_read(p_group, v_time);
  END IF;
  CALL promote_gate(p_group, v_version, v_staged, v_datasets, p_who, v_waits, v_comment);
  IF v_waits IS NULL THEN
    SET v_done = 0;
    OPEN v_each;
    each_dataset: LOOP
      FETCH v_each INTO v_name;
      IF v_done THEN
        LEAVE each_dataset;
      END IF;
      SET v_ds = v_ds + 1;
      CALL promote_apply(v_name, v_ds, v_version + 1, v_changes);
      CALL changes_seen(v_name, v_ds);
      IF v_changes > 0 THEN
        SET v_rows = v_rows + v_changes;
        SET v_detail = LEFT(CONCAT(v_detail, IF(v_detail = '', '', ', '), v_name, ' ', v_changes), 1024);
        IF v_version > 0 THEN
          CALL late_changes(v_name, v_version + 1, v_before, v_since, v_time, v_text);
          SET v_late = CONCAT_WS('; ', v_late, v_text);
        END IF;
      ELSE
        INSERT INTO image (group_name, version, dataset, digest, bytes, row_count, since)
        SELECT group_name, v_version + 1, dataset, digest, bytes, row_count, since FROM image
         WHERE group_name = p_group AND version = v_version AND dataset = v_name;
      END IF;
    END LOOP;
    CLOSE v_each;
    IF v_rows > 0 OR v_staged > 0 THEN
      CALL promote_checks(p_group, v_version + 1);
      SELECT GROUP_CONCAT(i.dataset, ' dropped' ORDER BY i.dataset SEPARATOR ', ') INTO v_text
        FROM image i LEFT JOIN dataset d ON d.name = i.dataset AND d.group_name = p_group AND d.dropped = 0
       WHERE i.group_name = p_group AND i.version = v_version AND d.name IS NULL;
      SET v_detail = LEFT(CONCAT_WS(', ', NULLIF(v_detail, ''), v_text), 1024);
    END IF;
  END IF;
  DROP TEMPORARY TABLE IF EXISTS difference;

  IF v_waits IS NULL AND (v_rows > 0 OR v_staged > 0) THEN
    SET v_detail = LEFT(CONCAT_WS('; ', v_detail, NULLIF(v_late, '')), 1024);
    UPDATE sync SET version = v_version + 1, activation_time = v_time, content_time = v_time, promoting = 1,
                    reason = LEFT(COALESCE(v_late, ''), 512)
     WHERE group_name = p_group;
    INSERT INTO history (at, group_name, action, version, who, rows_changed, detail, comment, account)
    VALUES (UTC_TIMESTAMP(6), p_group, 'promote', v_version + 1, p_who, v_rows, v_detail, v_comment, LEFT(USER(), 255));
    SELECT 'staged' AS outcome, v_version + 1 AS version, v_rows AS rows_changed;
  ELSE
    DELETE FROM image WHERE group_name = p_group AND version = v_version + 1;
    CALL next_activation(p_group, 0, v_next);
    CALL count_schedules(p_group, v_staged);
    IF v_waits IS NOT NULL THEN
      CALL look_ahead(p_group, UTC_TIMESTAMP(6) + INTERVAL 1 SECOND, v_next);
    ELSEIF v_staged > 0 THEN
      SET v_next = LEAST(v_next, v_time);
    END IF;
    UPDATE sync SET activation_time = v_next, content_time = IF(v_waits IS NULL, v_time, content_time),
                    wanted_time = IF(wanted_time > v_next, wanted_time, NULL), reason = LEFT(COALESCE(v_waits, ''), 512)
     WHERE group_name = p_group;
    SELECT 'unchanged' AS outcome, v_version AS version, 0 AS rows_changed;
  END IF;
END //

-- One cycle: active := staged, staged := production, next activation time; by whoever comes first.
DROP PROCEDURE IF EXISTS promote //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE promote(
  IN p_group VARCHAR(64), IN p_epoch BIGINT, IN p_who VARCHAR(128))
  MODIFIES SQL DATA
BEGIN
  DECLARE v_zone VARCHAR(64) DEFAULT @@SESSION.time_zone;
  DECLARE v_length BIGINT DEFAULT @@SESSION.group_concat_max_len;
  DECLARE EXIT HANDLER FOR SQLEXCEPTION
  BEGIN
    SET SESSION time_zone = v_zone;
    SET SESSION group_concat_max_len = v_length;
    RESIGNAL;
  END;
  CALL true_time();
  CALL promote_check();
  -- TIMESTAMP is carried without loss only where no hour is there twice a year.
  SET SESSION time_zone = '+00:00';
  SET SESSION group_concat_max_len = 16777216;
  CALL promote_work(p_group, p_epoch, p_who);
  SET SESSION time_zone = v_zone;
  SET SESSION group_concat_max_len = v_length;
END //

-- Records the image of a dataset of the version that this transaction promotes.
DROP PROCEDURE IF EXISTS promote_image //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE promote_image(
  IN p_group VARCHAR(64), IN p_version BIGINT, IN p_dataset VARCHAR(64), IN p_digest VARCHAR(64),
  IN p_bytes BIGINT, IN p_rows BIGINT)
  MODIFIES SQL DATA
BEGIN
  DECLARE v_count INT;
  SELECT COUNT(*) INTO v_count FROM sync
   WHERE group_name = p_group AND version = p_version AND promoting = 1;
  IF v_count = 0 THEN
    CALL fail(CONCAT('FS1004: version ', COALESCE(p_version, 'NULL'), ' of group ',
                     COALESCE(p_group, 'NULL'), ' isn''t being promoted by this transaction'));
  END IF;
  SELECT COUNT(*) INTO v_count FROM dataset
   WHERE name = p_dataset AND group_name = p_group AND dropped = 0;
  IF v_count = 0 THEN
    CALL fail(CONCAT('FS1006: group ', p_group, ' has no dataset ''', COALESCE(p_dataset, 'NULL'), ''''));
  END IF;
  IF COALESCE(p_digest, '') NOT REGEXP '^[0-9a-f]{64}$' OR COALESCE(p_bytes, -1) < 0
     OR COALESCE(p_rows, -1) < 0 THEN
    CALL fail(CONCAT('FS1007: dataset ', p_dataset, ': an image needs a digest of 64 hex digits, its ',
                     'bytes and its rows'));
  END IF;
  INSERT INTO image (group_name, version, dataset, digest, bytes, row_count, since)
  VALUES (p_group, p_version, p_dataset, p_digest, p_bytes, p_rows, p_version);
END //

-- Ends a promotion that staged a version; COMMIT is left to the caller.
DROP PROCEDURE IF EXISTS promote_done //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE promote_done(
  IN p_group VARCHAR(64), IN p_version BIGINT, IN p_who VARCHAR(128))
  MODIFIES SQL DATA
BEGIN
  DECLARE v_missing TEXT;
  DECLARE v_time, v_next DATETIME(6);
  DECLARE v_lead, v_active BIGINT;
  CALL true_time();
  SELECT MAX(activation_time), MAX(active_version),
         MAX(LEAST(CAST(min_lead * 1000000 AS SIGNED), sync_interval * 1000000 DIV 2))
    INTO v_time, v_active, v_lead FROM sync
   WHERE group_name = p_group AND version = p_version AND promoting = 1 AND promoted_by = p_who;
  IF v_time IS NULL THEN
    CALL fail(CONCAT('FS1004: version ', COALESCE(p_version, 'NULL'), ' of group ',
                     COALESCE(p_group, 'NULL'), ' isn''t being promoted by this transaction'));
  END IF;
  SELECT GROUP_CONCAT(d.name ORDER BY d.name SEPARATOR ', ') INTO v_missing FROM dataset d
    LEFT JOIN image i ON i.group_name = p_group AND i.version = p_version AND i.dataset = d.name
   WHERE d.group_name = p_group AND d.dropped = 0 AND i.dataset IS NULL;
  IF v_missing IS NOT NULL THEN
    CALL fail(CONCAT('FS1005: version ', p_version, ' of group ', p_group, ' lacks the images of: ',
                     v_missing));
  END IF;
  IF v_time < UTC_TIMESTAMP(6) + INTERVAL v_lead MICROSECOND THEN
    -- The work took so long that the servers wouldn't get their lead.
    CALL next_activation(p_group, 1, v_next);
    CALL put_off(p_group, p_version, v_time, v_next);
    SET v_time = v_next;
  END IF;
  UPDATE sync SET promoting = 0, activation_time = v_time,
                  grid_time = IF(v_active = 0, v_time, grid_time),
                  wanted_time = IF(wanted_time > v_time, wanted_time, NULL)
   WHERE group_name = p_group;
  CALL ready_stage(p_group);
END //

-- Records that a promotion was refused; the farm stays on what it has until the next cycle. Ends the promotion's
-- transaction, of which nothing may be left but the row of the group; without one it works in its own.
DROP PROCEDURE IF EXISTS promote_failed //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE promote_failed(
  IN p_group VARCHAR(64), IN p_epoch BIGINT, IN p_who VARCHAR(128), IN p_reason TEXT)
  MODIFIES SQL DATA
BEGIN
  DECLARE v_next DATETIME(6);
  DECLARE v_own INT DEFAULT 0;
  DECLARE EXIT HANDLER FOR SQLEXCEPTION
  BEGIN
    ROLLBACK;
    RESIGNAL;
  END;
  CALL true_time();
  BEGIN
    DECLARE EXIT HANDLER FOR 1305 SET v_own = 1;
    SAVEPOINT farmsync_failed;
    RELEASE SAVEPOINT farmsync_failed;
  END;
  IF v_own THEN
    START TRANSACTION;
  END IF;
  UPDATE sync SET epoch = epoch + 1, active_version = version, state = 'failed',
                  reason = LEFT(COALESCE(p_reason, ''), 512), promoting = 0
   WHERE group_name = p_group AND epoch = p_epoch AND state <> 'held' AND pinned_version IS NULL
     AND activation_time <= UTC_TIMESTAMP(6);
  IF ROW_COUNT() = 1 THEN
    CALL next_activation(p_group, 0, v_next);
    CALL look_ahead_if_readable(p_group, UTC_TIMESTAMP(6) + INTERVAL 1 SECOND, v_next);
    UPDATE sync SET activation_time = v_next, wanted_time = IF(wanted_time > v_next, wanted_time, NULL)
     WHERE group_name = p_group;
    INSERT INTO history (at, group_name, action, version, who, detail, account)
    SELECT UTC_TIMESTAMP(6), p_group, 'refused', version, p_who, LEFT(COALESCE(p_reason, ''), 1024), LEFT(USER(), 255)
      FROM sync WHERE group_name = p_group;
  END IF;
  COMMIT;
END //

DELIMITER ;
