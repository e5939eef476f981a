-- SPDX-License-Identifier: Apache-2.0
-- The procedures of farmsync. May be run again at any time: each is replaced.
--
-- For datasrv and agents: promote, promote_image, promote_done, promote_failed, report_members, prune.
-- For operators: add_dataset, add_dataset_with, drop_dataset, show_pending, add_group, drop_group,
--   set_interval, set_lead, set_keep_versions, hold, resume, activate_now, activate_at, forget_member.
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
-- No stored functions: with a binary log they need rights that administrators of hosted databases lack.
-- No statement of promote, promote_image and promote_done commits.
SET NAMES utf8mb4;
USE farmsync;
-- The procedures keep this mode. Strict, so that nothing is cut short silently; zero dates and the like,
-- which old tables hold, are carried as they are.
SET @farmsync_old_mode = @@SESSION.sql_mode;
SET SESSION sql_mode = 'STRICT_TRANS_TABLES,STRICT_ALL_TABLES,ALLOW_INVALID_DATES,NO_ENGINE_SUBSTITUTION';

DELIMITER //

-- --- parts that others use ----------------------------------------------------------------------

-- Ends the caller with a sentence. MySQL allows 128 characters, MariaDB 512.
DROP PROCEDURE IF EXISTS fail //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE fail(IN p_text TEXT)
  NO SQL
BEGIN
  DECLARE v_text VARCHAR(512);
  SET v_text = LEFT(p_text, /*M! 512 + 0 * */ 128);
  SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = v_text;
END //

DROP PROCEDURE IF EXISTS run_sql //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE run_sql(IN p_sql LONGTEXT)
  MODIFIES SQL DATA
BEGIN
  SET @farmsync_sql = p_sql;
  PREPARE farmsync_statement FROM @farmsync_sql;
  EXECUTE farmsync_statement;
  DEALLOCATE PREPARE farmsync_statement;
  SET @farmsync_sql = NULL;
END //

DROP PROCEDURE IF EXISTS note //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE note(
  IN p_group VARCHAR(64), IN p_action VARCHAR(32), IN p_version BIGINT, IN p_detail TEXT)
  MODIFIES SQL DATA
BEGIN
  INSERT INTO history (at, group_name, action, version, who, detail)
  VALUES (UTC_TIMESTAMP(6), p_group, p_action, p_version, LEFT(USER(), 255), LEFT(p_detail, 1024));
END //

-- Takes the row of the group for the rest of the transaction. Every operator's act begins with it.
DROP PROCEDURE IF EXISTS take_group //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE take_group(IN p_group VARCHAR(64))
  MODIFIES SQL DATA
BEGIN
  UPDATE sync SET epoch = epoch + 1 WHERE group_name = p_group;
  IF ROW_COUNT() = 0 THEN
    CALL fail(CONCAT('FS1003: there is no group ''', COALESCE(p_group, 'NULL'),
                     '''; see SELECT group_name FROM farmsync.cycle, or CALL farmsync.add_group'));
  END IF;
END //

-- When the group's next activation is: the first moment on the grid that leaves the lead, or the moment
-- that an operator wants if that comes first. p_staged: something is staged for it.
DROP PROCEDURE IF EXISTS next_activation //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE next_activation(
  IN p_group VARCHAR(64), IN p_staged TINYINT, OUT p_next DATETIME(6))
  READS SQL DATA
BEGIN
  DECLARE v_now, v_grid, v_wanted, v_earliest DATETIME(6);
  DECLARE v_active, v_interval, v_lead, v_behind BIGINT;
  SET v_now = UTC_TIMESTAMP(6);
  SELECT active_version, sync_interval * 1000000, grid_time, wanted_time,
         LEAST(CAST(min_lead * 1000000 AS SIGNED), sync_interval * 1000000 DIV 2)
    INTO v_active, v_interval, v_grid, v_wanted, v_lead
    FROM sync WHERE group_name = p_group;
  SET v_earliest = v_now + INTERVAL v_lead MICROSECOND;
  IF p_staged AND v_active = 0 THEN
    -- The first version of all: nobody has anything yet, so nobody waits for the grid.
    SET p_next = v_earliest;
  ELSE
    SET v_behind = GREATEST(0, TIMESTAMPDIFF(MICROSECOND, v_grid, v_earliest));
    SET p_next = v_grid + INTERVAL ((v_behind + v_interval - 1) DIV v_interval) * v_interval MICROSECOND;
    IF v_wanted IS NOT NULL AND p_staged THEN
      SET p_next = LEAST(p_next, GREATEST(v_wanted, v_earliest));
    ELSEIF v_wanted - INTERVAL 2 * v_lead MICROSECOND > v_now THEN
      -- Nothing to stage for the wanted moment yet: look again just before it.
      SET p_next = LEAST(p_next, v_wanted - INTERVAL 2 * v_lead MICROSECOND);
    END IF;
  END IF;
END //

-- --- promotion ------------------------------------------------------------------------------------

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
END //

-- Fills the temporary table `difference`: ds = place of the dataset in the order of names; op: 'n' new,
-- 'c' changed, 'g' gone ('c' and 'g': number = fs_from of the row that ends), 't' number = rows in all.
DROP PROCEDURE IF EXISTS promote_read //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE promote_read(IN p_group VARCHAR(64))
  MODIFIES SQL DATA
BEGIN
  DECLARE v_done, v_errno, v_ds INT DEFAULT 0;
  DECLARE v_name VARCHAR(64);
  DECLARE v_source VARCHAR(193);
  DECLARE v_text TEXT;
  DECLARE v_slots, v_sql, v_values, v_same, v_on, v_keys_p, v_keys_d, v_set, v_nulls LONGTEXT;
  DECLARE v_each CURSOR FOR
    SELECT name, source FROM dataset WHERE group_name = p_group AND dropped = 0 ORDER BY name;
  DECLARE CONTINUE HANDLER FOR NOT FOUND SET v_done = 1;

  SELECT GROUP_CONCAT(DISTINCT c.slot, ' ', c.carrier, ' NULL' ORDER BY c.slot SEPARATOR ', '),
         GROUP_CONCAT(DISTINCT c.slot ORDER BY c.slot SEPARATOR ', ')
    INTO v_sql, v_slots
    FROM column_sql c JOIN dataset d ON d.name = c.dataset
   WHERE d.group_name = p_group AND d.dropped = 0;
  DROP TEMPORARY TABLE IF EXISTS difference;
  CALL run_sql(CONCAT('CREATE TEMPORARY TABLE farmsync.difference (ds INT NOT NULL, op CHAR(1) ',
    'CHARACTER SET ascii NOT NULL, number BIGINT NULL, ', v_sql, ', KEY (ds, op)) ENGINE=InnoDB'));

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
                  ' AS p WHERE ', GROUP_CONCAT('p.', quoted, ' IS NOT NULL' SEPARATOR ' AND '))
      INTO v_on, v_set, v_keys_p
      FROM column_sql WHERE dataset = v_name AND key_place > 0;
    SET v_sql = CONCAT(v_sql, IF(v_sql = '', '', ' UNION ALL '),
      'SELECT ', v_ds, ', IF(d.fs_from IS NULL, ''n'', ''c''), d.fs_from, ', v_values,
      ' FROM ', v_source, ' AS p LEFT JOIN farmsync.`data_', v_name, '` AS d FORCE INDEX (PRIMARY) ON ',
      v_on, ' AND d.fs_to = 9223372036854775807 WHERE d.fs_from IS NULL OR NOT (', v_same, ')',
      ' UNION ALL SELECT ', v_ds, ', ''g'', d.fs_from, ', v_keys_d, ' FROM farmsync.`data_', v_name,
      '` AS d WHERE d.fs_to = 9223372036854775807 AND (', v_set, ') NOT IN (', v_keys_p, ')',
      ' UNION ALL SELECT ', v_ds, ', ''t'', COUNT(*), ', v_nulls, ' FROM ', v_source, ' AS p');
  END LOOP;
  CLOSE v_each;

  BEGIN
    DECLARE EXIT HANDLER FOR SQLEXCEPTION
    BEGIN
      GET DIAGNOSTICS CONDITION 1 v_errno = MYSQL_ERRNO, v_text = MESSAGE_TEXT;
      IF v_errno IN (1020, 1047, 1205, 1213, 1317, 1927, 3101) THEN
        RESIGNAL;
      END IF;
      CALL fail(CONCAT('FS1033: the production data can''t be read: ', v_text,
                       '; repair the table or view, or CALL farmsync.drop_dataset'));
    END;
    CALL run_sql(CONCAT('INSERT INTO farmsync.difference (ds, op, number, ', v_slots, ') ', v_sql));
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
    IF v_errno IN (1020, 1047, 1205, 1213, 1317, 1644, 1927, 3101) THEN
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

  CALL run_sql(CONCAT('SELECT COUNT(*), SUM(t.op = ''n'' AND (', v_null, ')) INTO @farmsync_changes, ',
    '@farmsync_nulls FROM farmsync.difference t WHERE t.ds = ', p_ds, ' AND t.op <> ''t'''));
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
  -- A second row with the key of an unchanged one is no new and no changed row; the count tells.
  CALL run_sql(CONCAT('SELECT number - (SELECT COUNT(*) FROM farmsync.`data_', p_name,
    '` WHERE fs_to = 9223372036854775807) INTO @farmsync_doubles FROM farmsync.difference t WHERE t.ds = ',
    p_ds, ' AND t.op = ''t'''));
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
  DECLARE v_done, v_ds, v_staged INT DEFAULT 0;
  DECLARE v_version, v_changes, v_rows BIGINT DEFAULT 0;
  DECLARE v_name VARCHAR(64);
  DECLARE v_next DATETIME(6);
  DECLARE v_detail VARCHAR(1024) DEFAULT '';
  DECLARE v_each CURSOR FOR
    SELECT name FROM dataset WHERE group_name = p_group AND dropped = 0 ORDER BY name;
  DECLARE CONTINUE HANDLER FOR NOT FOUND SET v_done = 1;

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
  SELECT version INTO v_version FROM sync WHERE group_name = p_group;

  -- The set of datasets itself may have changed; a version whose images are not all there is repeated.
  SELECT COUNT(*) INTO v_staged FROM dataset d
    LEFT JOIN image i ON i.group_name = p_group AND i.version = v_version AND i.dataset = d.name
   WHERE d.group_name = p_group AND d.dropped = 0 AND i.dataset IS NULL;
  SELECT v_staged + COUNT(*) INTO v_staged FROM image i
    LEFT JOIN dataset d ON d.name = i.dataset AND d.group_name = p_group AND d.dropped = 0
   WHERE i.group_name = p_group AND i.version = v_version AND d.name IS NULL;

  IF EXISTS (SELECT 1 FROM dataset WHERE group_name = p_group AND dropped = 0) THEN
    CALL promote_read(p_group);
    SET v_done = 0;
    OPEN v_each;
    each_dataset: LOOP
      FETCH v_each INTO v_name;
      IF v_done THEN
        LEAVE each_dataset;
      END IF;
      SET v_ds = v_ds + 1;
      CALL promote_apply(v_name, v_ds, v_version + 1, v_changes);
      IF v_changes > 0 THEN
        SET v_rows = v_rows + v_changes;
        SET v_detail = LEFT(CONCAT(v_detail, IF(v_detail = '', '', ', '), v_name, ' ', v_changes), 1024);
      ELSE
        INSERT INTO image (group_name, version, dataset, digest, bytes, row_count, since)
        SELECT group_name, v_version + 1, dataset, digest, bytes, row_count, since FROM image
         WHERE group_name = p_group AND version = v_version AND dataset = v_name;
      END IF;
    END LOOP;
    CLOSE v_each;
    DROP TEMPORARY TABLE IF EXISTS difference;
  END IF;

  IF v_rows > 0 OR v_staged > 0 THEN
    CALL next_activation(p_group, 1, v_next);
    UPDATE sync SET version = v_version + 1, activation_time = v_next, promoting = 1
     WHERE group_name = p_group;
    INSERT INTO history (at, group_name, action, version, who, rows_changed, detail)
    VALUES (UTC_TIMESTAMP(6), p_group, 'promote', v_version + 1, p_who, v_rows, v_detail);
    SELECT 'staged' AS outcome, v_version + 1 AS version, v_rows AS rows_changed;
  ELSE
    DELETE FROM image WHERE group_name = p_group AND version = v_version + 1;
    CALL next_activation(p_group, 0, v_next);
    UPDATE sync SET activation_time = v_next, wanted_time = IF(wanted_time > v_next, wanted_time, NULL)
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
  IF NOT EXISTS (SELECT 1 FROM sync WHERE group_name = p_group AND version = p_version AND promoting = 1)
  THEN
    CALL fail(CONCAT('FS1004: version ', COALESCE(p_version, 'NULL'), ' of group ',
                     COALESCE(p_group, 'NULL'), ' isn''t being promoted by this transaction'));
  END IF;
  IF NOT EXISTS (SELECT 1 FROM dataset WHERE name = p_dataset AND group_name = p_group AND dropped = 0)
  THEN
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
    SET v_time = v_next;
  END IF;
  UPDATE sync SET promoting = 0, activation_time = v_time,
                  grid_time = IF(v_active = 0, v_time, grid_time),
                  wanted_time = IF(wanted_time > v_time, wanted_time, NULL)
   WHERE group_name = p_group;
END //

-- Records that a promotion was refused; the farm stays on what it has until the next cycle.
DROP PROCEDURE IF EXISTS promote_failed //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE promote_failed(
  IN p_group VARCHAR(64), IN p_epoch BIGINT, IN p_who VARCHAR(128), IN p_reason TEXT)
  MODIFIES SQL DATA
BEGIN
  DECLARE v_next DATETIME(6);
  DECLARE EXIT HANDLER FOR SQLEXCEPTION
  BEGIN
    ROLLBACK;
    RESIGNAL;
  END;
  START TRANSACTION;
  UPDATE sync SET epoch = epoch + 1, active_version = version, state = 'failed',
                  reason = LEFT(COALESCE(p_reason, ''), 512), promoting = 0
   WHERE group_name = p_group AND epoch = p_epoch AND state <> 'held' AND pinned_version IS NULL
     AND activation_time <= UTC_TIMESTAMP(6);
  IF ROW_COUNT() = 1 THEN
    CALL next_activation(p_group, 0, v_next);
    UPDATE sync SET activation_time = v_next, wanted_time = IF(wanted_time > v_next, wanted_time, NULL)
     WHERE group_name = p_group;
    INSERT INTO history (at, group_name, action, version, who, detail)
    SELECT UTC_TIMESTAMP(6), p_group, 'refused', version, p_who, LEFT(COALESCE(p_reason, ''), 1024)
      FROM sync WHERE group_name = p_group;
  END IF;
  COMMIT;
END //

-- --- members ------------------------------------------------------------------------------------

DROP PROCEDURE IF EXISTS report_members //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE report_members(IN p_members LONGTEXT)
  MODIFIES SQL DATA
BEGIN
  IF p_members IS NULL OR NOT JSON_VALID(p_members) OR JSON_TYPE(p_members) <> 'ARRAY' THEN
    CALL fail('FS1050: report_members takes a JSON array of objects');
  END IF;
  INSERT INTO member (name, kind, group_name, address, version_active, version_staged, digest,
                      clock_offset_us, clock_bound_us, clock_source, problem, seen)
  SELECT j.name, j.kind, j.group_name, COALESCE(j.address, ''), COALESCE(j.version_active, 0),
         COALESCE(j.version_staged, 0), COALESCE(j.digest, ''), j.clock_offset_us, j.clock_bound_us,
         COALESCE(j.clock_source, ''), LEFT(COALESCE(j.problem, ''), 256), UTC_TIMESTAMP(6)
    FROM JSON_TABLE(p_members, '$[*]' COLUMNS (
           name VARCHAR(64) PATH '$.name',
           kind VARCHAR(8) PATH '$.kind',
           group_name VARCHAR(64) PATH '$.group',
           address VARCHAR(128) PATH '$.address',
           version_active BIGINT PATH '$.version_active',
           version_staged BIGINT PATH '$.version_staged',
           digest VARCHAR(64) PATH '$.digest',
           clock_offset_us BIGINT PATH '$.clock_offset_us',
           clock_bound_us BIGINT PATH '$.clock_bound_us',
           clock_source VARCHAR(64) PATH '$.clock_source',
           problem VARCHAR(1024) PATH '$.problem')) AS j
   ORDER BY j.name, j.group_name
  ON DUPLICATE KEY UPDATE kind = VALUES(kind), address = VALUES(address),
    version_active = VALUES(version_active), version_staged = VALUES(version_staged),
    digest = VALUES(digest), clock_offset_us = VALUES(clock_offset_us),
    clock_bound_us = VALUES(clock_bound_us), clock_source = VALUES(clock_source),
    problem = VALUES(problem), seen = VALUES(seen);
END //

-- Takes a server that is no more out of the view farm.
DROP PROCEDURE IF EXISTS forget_member //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE forget_member(IN p_name VARCHAR(64))
  MODIFIES SQL DATA
BEGIN
  DELETE FROM member WHERE name = p_name;
  IF ROW_COUNT() = 0 THEN
    CALL fail(CONCAT('FS1051: there is no member ''', COALESCE(p_name, 'NULL'),
                     '''; see SELECT * FROM farmsync.farm'));
  END IF;
END //

-- --- pruning ------------------------------------------------------------------------------------

-- Removes all that is left of a dropped dataset, unless a server may still ask for it.
DROP PROCEDURE IF EXISTS purge_dataset //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE purge_dataset(IN p_name VARCHAR(64), OUT p_purged TINYINT)
  MODIFIES SQL DATA
BEGIN
  SELECT COUNT(*) = 0 INTO p_purged
    FROM dataset d JOIN sync s ON s.group_name = d.group_name
    JOIN image i ON i.group_name = d.group_name AND i.dataset = d.name
     AND (i.version = s.version OR i.version = s.active_version AND UTC_TIMESTAMP(6) < s.activation_time)
   WHERE d.name = p_name;
  IF p_purged THEN
    CALL run_sql(CONCAT('DROP VIEW IF EXISTS farmsync.`staged_', p_name, '`, farmsync.`active_', p_name,
                        '`, farmsync.`pending_', p_name, '`'));
    CALL run_sql(CONCAT('DROP TABLE IF EXISTS farmsync.`data_', p_name, '`'));
    START TRANSACTION;
    DELETE FROM image WHERE dataset = p_name;
    DELETE FROM dataset_column WHERE dataset = p_name;
    DELETE FROM dataset WHERE name = p_name;
    COMMIT;
  END IF;
END //

-- Removes rows of versions that nobody can ask for any more, at most p_max_rows of each dataset.
DROP PROCEDURE IF EXISTS prune //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE prune(IN p_group VARCHAR(64), IN p_max_rows BIGINT)
  MODIFIES SQL DATA
BEGIN
  DECLARE v_done, v_dropped INT DEFAULT 0;
  DECLARE v_purged TINYINT;
  DECLARE v_name VARCHAR(64);
  DECLARE v_oldest, v_keep BIGINT;
  DECLARE v_left BIGINT DEFAULT 0;
  DECLARE v_each CURSOR FOR SELECT name, dropped FROM dataset WHERE group_name = p_group;
  DECLARE CONTINUE HANDLER FOR NOT FOUND SET v_done = 1;
  IF NOT EXISTS (SELECT 1 FROM sync WHERE group_name = p_group) THEN
    CALL fail(CONCAT('FS1003: there is no group ''', COALESCE(p_group, 'NULL'),
                     '''; see SELECT group_name FROM farmsync.cycle, or CALL farmsync.add_group'));
  END IF;
  SELECT GREATEST(1, keep_versions) INTO v_keep FROM sync WHERE group_name = p_group;
  SELECT MIN(v.version) INTO v_oldest FROM (SELECT DISTINCT version FROM image WHERE group_name = p_group
                                             ORDER BY version DESC LIMIT v_keep) AS v;
  -- Whoever has not heard of the newest activation yet still needs active_version.
  SELECT LEAST(COALESCE(v_oldest, version), version, IF(active_version > 0, active_version, version),
               COALESCE(pinned_version, version))
    INTO v_oldest FROM sync WHERE group_name = p_group;
  DELETE FROM image WHERE group_name = p_group AND version < v_oldest;
  SET v_done = 0;
  OPEN v_each;
  each_dataset: LOOP
    FETCH v_each INTO v_name, v_dropped;
    IF v_done THEN
      LEAVE each_dataset;
    END IF;
    IF v_dropped = 1 THEN
      CALL purge_dataset(v_name, v_purged);
    ELSEIF v_dropped = 0 THEN
      CALL run_sql(CONCAT('DELETE FROM farmsync.`data_', v_name, '` WHERE fs_to <= ', v_oldest, ' LIMIT ',
                          GREATEST(1, p_max_rows)));
      CALL run_sql(CONCAT('SELECT COUNT(*) INTO @farmsync_left FROM farmsync.`data_', v_name,
                          '` WHERE fs_to <= ', v_oldest));
      SET v_left = v_left + @farmsync_left;
    END IF;
  END LOOP;
  CLOSE v_each;
  DELETE FROM member WHERE group_name = p_group AND seen < UTC_TIMESTAMP(6) - INTERVAL 7 DAY;
  SELECT v_left AS rows_left;
END //

-- --- datasets -----------------------------------------------------------------------------------

-- The view `pending` has one line per dataset; it is made anew when a dataset comes or goes.
DROP PROCEDURE IF EXISTS make_pending //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE make_pending()
  MODIFIES SQL DATA
BEGIN
  DECLARE v_length BIGINT DEFAULT @@SESSION.group_concat_max_len;
  DECLARE v_sql LONGTEXT;
  SET SESSION group_concat_max_len = 16777216;
  SELECT GROUP_CONCAT('SELECT ', QUOTE(group_name), ' AS group_name, ', QUOTE(name), ' AS dataset, ',
           'CAST(COALESCE(SUM(fs_change = ''new''), 0) AS SIGNED) AS new_rows, ',
           'CAST(COALESCE(SUM(fs_change = ''changed''), 0) AS SIGNED) AS changed_rows, ',
           'CAST(COALESCE(SUM(fs_change = ''gone''), 0) AS SIGNED) AS gone_rows ',
           'FROM farmsync.`pending_', name, '`' ORDER BY group_name, name SEPARATOR ' UNION ALL ')
    INTO v_sql FROM dataset WHERE dropped = 0;
  SET SESSION group_concat_max_len = v_length;
  CALL run_sql(CONCAT('CREATE OR REPLACE DEFINER = ''farmsync''@''localhost'' SQL SECURITY DEFINER VIEW ',
    'farmsync.pending AS ', COALESCE(v_sql, CONCAT(
      'SELECT group_name, group_name AS dataset, 0 AS new_rows, 0 AS changed_rows, 0 AS gone_rows ',
      'FROM farmsync.sync WHERE FALSE'))));
END //

-- Makes the views of a dataset from what dataset and dataset_column say.
DROP PROCEDURE IF EXISTS make_views //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE make_views(IN p_name VARCHAR(64))
  MODIFIES SQL DATA
BEGIN
  DECLARE v_length BIGINT DEFAULT @@SESSION.group_concat_max_len;
  DECLARE v_columns, v_read, v_same, v_on, v_keys, v_keys_p LONGTEXT;
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
  SET SESSION group_concat_max_len = v_length;
  CALL run_sql(CONCAT(v_head, 'farmsync.`staged_', p_name, '` AS SELECT ', v_columns,
    ' FROM farmsync.sync AS s JOIN farmsync.`data_', p_name, '` AS d WHERE s.group_name = ', QUOTE(v_group),
    ' AND d.fs_from <= s.version AND d.fs_to > s.version'));
  CALL run_sql(CONCAT(v_head, 'farmsync.`active_', p_name, '` AS SELECT ', v_columns,
    ' FROM farmsync.sync AS s JOIN farmsync.`data_', p_name, '` AS d WHERE s.group_name = ', QUOTE(v_group),
    ' AND d.fs_from <= IF(UTC_TIMESTAMP(6) < s.activation_time, s.active_version, s.version)',
    ' AND d.fs_to > IF(UTC_TIMESTAMP(6) < s.activation_time, s.active_version, s.version)'));
  CALL run_sql(CONCAT(v_head, 'farmsync.`pending_', p_name, '` AS SELECT ',
    'IF(d.fs_from IS NULL, ''new'', ''changed'') AS fs_change, ', v_read, ' FROM ', v_source,
    ' AS p LEFT JOIN farmsync.`data_', p_name, '` AS d FORCE INDEX (PRIMARY) ON ', v_on,
    ' AND d.fs_to = 9223372036854775807 WHERE d.fs_from IS NULL OR NOT (', v_same, ')',
    ' UNION ALL SELECT ''gone'', ', v_columns, ' FROM farmsync.`data_', p_name,
    '` AS d WHERE d.fs_to = 9223372036854775807 AND (', v_keys, ') NOT IN (', v_keys_p, ')'));
END //

-- Splits `shop.price`, shop.`price` or price. A name without a database is looked for in all databases
-- that farmsync may read (a definer-rights procedure can't see the caller's current database).
DROP PROCEDURE IF EXISTS parse_source //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE parse_source(
  IN p_source TEXT, OUT p_schema VARCHAR(64), OUT p_table VARCHAR(64))
  READS SQL DATA
BEGIN
  DECLARE v_dot, v_count INT;
  DECLARE v_schema, v_table TEXT;
  SET v_dot = COALESCE(NULLIF(LOCATE('`.`', p_source) + 1, 1), LOCATE('.', p_source));
  SET v_schema = TRIM(IF(v_dot > 0, LEFT(p_source, v_dot - 1), ''));
  SET v_table = TRIM(IF(v_dot > 0, SUBSTRING(p_source, v_dot + 1), COALESCE(p_source, '')));
  IF v_schema LIKE '`%`' THEN
    SET v_schema = REPLACE(SUBSTRING(v_schema, 2, CHAR_LENGTH(v_schema) - 2), '``', '`');
  END IF;
  IF v_table LIKE '`%`' THEN
    SET v_table = REPLACE(SUBSTRING(v_table, 2, CHAR_LENGTH(v_table) - 2), '``', '`');
  END IF;
  IF v_table = '' OR CHAR_LENGTH(v_table) > 64 OR CHAR_LENGTH(v_schema) > 64 OR (v_dot > 0 AND v_schema = '')
  THEN
    CALL fail(CONCAT('FS1016: ''', COALESCE(p_source, 'NULL'),
                     ''' names no table or view; write it as schema.table'));
  END IF;
  IF v_schema = '' THEN
    SELECT COUNT(*), MAX(table_schema) INTO v_count, v_schema FROM information_schema.tables
     WHERE table_name = v_table AND table_schema NOT IN
           ('farmsync', 'information_schema', 'mysql', 'performance_schema', 'sys');
    IF v_count = 0 THEN
      CALL fail(CONCAT('FS1016: there is no table or view ', v_table, ' in a database that farmsync may ',
                       'read; write schema.table'));
    ELSEIF v_count > 1 THEN
      CALL fail(CONCAT('FS1017: there are several tables ', v_table, '; write schema.table'));
    END IF;
  END IF;
  SET p_schema = v_schema;
  SET p_table = v_table;
END //

-- Can the definer read it? Ends with a sentence if not.
DROP PROCEDURE IF EXISTS check_source //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE check_source(IN p_source VARCHAR(193))
  READS SQL DATA
BEGIN
  DECLARE v_text TEXT;
  DECLARE EXIT HANDLER FOR 1049, 1146
    CALL fail(CONCAT('FS1016: there is no table or view ', p_source, '; write it as schema.table'));
  DECLARE EXIT HANDLER FOR 1044, 1142, 1143
    CALL fail(CONCAT('FS1015: farmsync may not read ', p_source, ': GRANT SELECT ON ', p_source,
                     ' TO ''farmsync''@''localhost'''));
  DECLARE EXIT HANDLER FOR SQLEXCEPTION
  BEGIN
    GET DIAGNOSTICS CONDITION 1 v_text = MESSAGE_TEXT;
    CALL fail(CONCAT('FS1018: ', p_source, ' can''t be read: ', v_text));
  END;
  -- Two rows: the first may be found without evaluating anything.
  CALL run_sql(CONCAT('SELECT COUNT(*) INTO @farmsync_count FROM (SELECT * FROM ', p_source,
                      ' LIMIT 2) AS p'));
END //

-- Reads 'a,b' into the key places of the dataset's columns.
DROP PROCEDURE IF EXISTS mark_keys //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE mark_keys(
  IN p_name VARCHAR(64), IN p_source VARCHAR(193), IN p_keys TEXT)
  MODIFIES SQL DATA
BEGIN
  DECLARE v_rest TEXT DEFAULT COALESCE(p_keys, '');
  DECLARE v_key TEXT;
  DECLARE v_place INT DEFAULT 0;
  DECLARE v_more TINYINT DEFAULT 1;
  WHILE v_more DO
    SET v_key = TRIM(SUBSTRING_INDEX(v_rest, ',', 1));
    SET v_more = LOCATE(',', v_rest) > 0;
    SET v_rest = SUBSTRING(v_rest, LOCATE(',', v_rest) + 1);
    IF v_key LIKE '`%`' THEN
      SET v_key = REPLACE(SUBSTRING(v_key, 2, CHAR_LENGTH(v_key) - 2), '``', '`');
    END IF;
    SET v_place = v_place + 1;
    IF v_key = '' OR v_place > 16 THEN
      CALL fail(CONCAT('FS1021: the key of ', p_name, ' is ''', COALESCE(p_keys, 'NULL'),
                       '''; name 1 to 16 columns, separated by commas'));
    END IF;
    IF EXISTS (SELECT 1 FROM dataset_column WHERE dataset = p_name AND key_place > 0
                  AND LOWER(name) = LOWER(v_key)) THEN
      CALL fail(CONCAT('FS1021: the key of ', p_name, ' names column ', v_key, ' twice'));
    END IF;
    UPDATE dataset_column SET key_place = v_place WHERE dataset = p_name AND LOWER(name) = LOWER(v_key);
    IF ROW_COUNT() = 0 THEN
      CALL fail(CONCAT('FS1020: ', p_source, ' has no column ''', v_key, ''''));
    END IF;
  END WHILE;
END //

-- Takes the source's columns into dataset_column and returns their definitions for the version table.
DROP PROCEDURE IF EXISTS take_columns //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE take_columns(
  IN p_name VARCHAR(64), IN p_schema VARCHAR(64), IN p_table VARCHAR(64), IN p_options LONGTEXT,
  OUT p_definitions LONGTEXT)
  MODIFIES SQL DATA
BEGIN
  DECLARE v_done, v_place, v_rank INT DEFAULT 0;
  DECLARE v_column, v_charset, v_collation, v_data_type VARCHAR(64);
  DECLARE v_type, v_extra, v_wanted LONGTEXT;
  DECLARE v_precision, v_scale INT;
  DECLARE v_json TINYINT;
  DECLARE v_kind VARCHAR(8);
  DECLARE v_read VARCHAR(8);
  DECLARE v_carrier VARCHAR(255);
  DECLARE v_definition LONGTEXT;
  DECLARE v_each CURSOR FOR
    SELECT c.column_name, LOWER(c.data_type), c.column_type, c.numeric_precision, c.numeric_scale,
           c.character_set_name, c.collation_name, LOWER(c.extra),
           /*M! EXISTS (SELECT 1 FROM information_schema.check_constraints k
                         WHERE k.constraint_schema = p_schema AND k.table_name = p_table
                           AND k.check_clause = CONCAT('json_valid(`', c.column_name, '`)')) OR */
           c.data_type = 'json'
      FROM information_schema.columns c
     WHERE c.table_schema = p_schema AND c.table_name = p_table
       AND (@@lower_case_table_names > 0 OR CAST(c.table_name AS BINARY) = CAST(p_table AS BINARY))
     ORDER BY c.ordinal_position;
  DECLARE CONTINUE HANDLER FOR NOT FOUND SET v_done = 1;

  SELECT MIN(o.n) INTO v_wanted
    FROM JSON_TABLE(COALESCE(p_options, '{}'), '$.columns[*]' COLUMNS (n VARCHAR(64) PATH '$')) AS o
   WHERE NOT EXISTS (SELECT 1 FROM information_schema.columns c WHERE c.table_schema = p_schema
                        AND c.table_name = p_table AND LOWER(c.column_name) = LOWER(o.n));
  IF v_wanted IS NOT NULL THEN
    CALL fail(CONCAT('FS1020: ', p_schema, '.', p_table, ' has no column ''', v_wanted, ''''));
  END IF;
  SET v_done = 0;
  SET p_definitions = '';
  OPEN v_each;
  each_column: LOOP
    FETCH v_each INTO v_column, v_data_type, v_type, v_precision, v_scale, v_charset, v_collation, v_extra,
                      v_json;
    IF v_done THEN
      LEAVE each_column;
    END IF;
    IF JSON_CONTAINS_PATH(COALESCE(p_options, '{}'), 'one', '$.columns') THEN
      IF NOT EXISTS (SELECT 1 FROM JSON_TABLE(p_options, '$.columns[*]' COLUMNS (n VARCHAR(64) PATH '$')) AS o
                      WHERE LOWER(o.n) = LOWER(v_column)) THEN
        ITERATE each_column;
      END IF;
    ELSEIF v_extra LIKE '%invisible%' THEN
      ITERATE each_column; -- as SELECT * does
    END IF;
    SET v_json = v_json OR EXISTS (
      SELECT 1 FROM JSON_TABLE(COALESCE(p_options, '{}'), '$.json[*]' COLUMNS (n VARCHAR(64) PATH '$')) AS o
       WHERE LOWER(o.n) = LOWER(v_column));
    IF LOWER(v_column) IN ('fs_from', 'fs_to', 'fs_change') THEN
      CALL fail(CONCAT('FS1026: column name ', v_column, ' is taken by farmsync; use a view that renames it'));
    END IF;
    SET v_place = v_place + 1;
    IF v_place > 1000 THEN
      CALL fail(CONCAT('FS1027: ', p_schema, '.', p_table, ' has more than 1000 columns; name some in ',
                       'the option "columns"'));
    END IF;
    -- ZEROFILL is presentation; it would make numbers that JSON doesn't know.
    SET v_type = TRIM(SUBSTRING_INDEX(REPLACE(v_type, ' zerofill', ''), '/*', 1));
    SET v_definition = v_type;
    SET v_read = 'plain';
    CASE
      WHEN v_data_type IN ('tinyint', 'smallint', 'mediumint', 'int', 'bigint') THEN
        SET v_kind = 'integer', v_carrier = IF(v_type LIKE '%unsigned%', 'BIGINT UNSIGNED', 'BIGINT');
      WHEN v_data_type = 'bit' THEN
        SET v_kind = 'integer', v_read = 'number', v_carrier = 'BIGINT UNSIGNED', v_definition = v_carrier;
      WHEN v_data_type = 'decimal' THEN
        SET v_kind = 'decimal', v_carrier = CONCAT('DECIMAL(', v_precision, ',', v_scale, ')');
      WHEN v_data_type = 'double' THEN
        SET v_kind = 'float', v_read = 'double', v_carrier = 'DOUBLE';
      WHEN v_data_type = 'float' THEN
        SET v_kind = 'float', v_read = 'float', v_carrier = 'DOUBLE', v_definition = 'DOUBLE';
      WHEN v_data_type IN ('date', 'year') THEN
        SET v_kind = 'time', v_carrier = UPPER(v_data_type);
      WHEN v_data_type IN ('time', 'datetime', 'timestamp') THEN
        SET v_kind = 'time', v_carrier = CONCAT(UPPER(v_data_type), '(6)');
      WHEN v_data_type IN ('char', 'varchar', 'tinytext', 'text', 'mediumtext', 'longtext', 'enum', 'set', 'json')
      THEN
        SET v_kind = IF(v_json, 'json', 'text'), v_read = 'text';
        SET v_carrier = CONCAT('LONGTEXT CHARACTER SET ', COALESCE(v_charset, 'utf8mb4'), ' COLLATE ',
                               COALESCE(v_collation, 'utf8mb4_bin'));
        SET v_definition = IF(v_json, 'JSON', CONCAT(v_type, ' CHARACTER SET ', v_charset, ' COLLATE ',
                                                     v_collation));
      WHEN v_data_type IN ('binary', 'varbinary', 'tinyblob', 'blob', 'mediumblob', 'longblob') THEN
        SET v_kind = 'binary', v_carrier = 'LONGBLOB';
      WHEN v_data_type IN ('uuid', 'inet4', 'inet6') THEN
        SET v_kind = 'text', v_carrier = v_type;
      ELSE
        CALL fail(CONCAT('FS1025: column ', v_column, ' has type ', v_data_type, ', which can''t be carried; ',
                         'leave it out with the option "columns", or use a view'));
    END CASE;
    SELECT COUNT(*) + 1 INTO v_rank FROM dataset_column WHERE dataset = p_name AND carrier = v_carrier;
    INSERT INTO dataset_column (dataset, place, name, kind, read_as, carrier, slot)
    VALUES (p_name, v_place, v_column, v_kind, v_read, v_carrier,
            CONCAT('s', LEFT(MD5(v_carrier), 12), '_', v_rank));
    SET p_definitions = CONCAT(p_definitions, '`', REPLACE(v_column, '`', '``'), '` ', v_definition, ' NULL, ');
  END LOOP;
  CLOSE v_each;
  IF v_place = 0 THEN
    CALL fail(CONCAT('FS1020: no column of ', p_schema, '.', p_table, ' is left; see the option "columns"'));
  END IF;
END //

-- A key must be of a type that can be a primary key, short enough, complete and unique in the data.
DROP PROCEDURE IF EXISTS check_key //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE check_key(
  IN p_name VARCHAR(64), IN p_schema VARCHAR(64), IN p_table VARCHAR(64), IN p_source VARCHAR(193))
  MODIFIES SQL DATA
BEGIN
  DECLARE v_bad, v_null, v_list, v_text LONGTEXT;
  DECLARE v_bytes BIGINT;
  SELECT GROUP_CONCAT(c.column_name, ' (', c.data_type, ')' SEPARATOR ', ') INTO v_bad
    FROM information_schema.columns c JOIN dataset_column k
      ON k.dataset = p_name AND k.key_place > 0 AND k.name = c.column_name
   WHERE c.table_schema = p_schema AND c.table_name = p_table
     AND c.data_type IN ('float', 'double', 'json', 'tinytext', 'text', 'mediumtext', 'longtext',
                         'tinyblob', 'blob', 'mediumblob', 'longblob');
  IF v_bad IS NOT NULL THEN
    CALL fail(CONCAT('FS1022: a key can''t be made of ', v_bad,
                     '; choose another, or use a view with CAST(... AS CHAR(190))'));
  END IF;
  SELECT SUM(COALESCE(c.character_octet_length, 8)) INTO v_bytes
    FROM information_schema.columns c JOIN dataset_column k
      ON k.dataset = p_name AND k.key_place > 0 AND k.name = c.column_name
   WHERE c.table_schema = p_schema AND c.table_name = p_table;
  IF v_bytes > 3064 THEN
    CALL fail(CONCAT('FS1027: the key of ', p_name, ' can be ', v_bytes, ' bytes long, more than the 3064 ',
                     'that a key may have; use a view with CAST(... AS CHAR(190))'));
  END IF;
  SELECT GROUP_CONCAT('p.', quoted, ' IS NULL' SEPARATOR ' OR '),
         GROUP_CONCAT('p.', quoted ORDER BY key_place SEPARATOR ', ')
    INTO v_null, v_list FROM column_sql WHERE dataset = p_name AND key_place > 0;
  BEGIN
    DECLARE EXIT HANDLER FOR SQLEXCEPTION
    BEGIN
      GET DIAGNOSTICS CONDITION 1 v_text = MESSAGE_TEXT;
      CALL fail(CONCAT('FS1018: ', p_source, ' can''t be read: ', v_text));
    END;
    CALL run_sql(CONCAT('SELECT COUNT(*) INTO @farmsync_count FROM (SELECT 1 FROM ', p_source, ' AS p WHERE ',
                        v_null, ' LIMIT 1) AS x'));
    SET @farmsync_text = NULL;
    CALL run_sql(CONCAT('SELECT CONCAT_WS(''/'', ', v_list, ') INTO @farmsync_text FROM ', p_source,
                        ' AS p GROUP BY ', v_list, ' HAVING COUNT(*) > 1 LIMIT 1'));
  END;
  IF @farmsync_count > 0 THEN
    CALL fail(CONCAT('FS1023: a row of ', p_source, ' has NULL in ', v_list,
                     '; fill it in, or name another key'));
  END IF;
  IF @farmsync_text IS NOT NULL THEN
    CALL fail(CONCAT('FS1024: ', v_list, ' isn''t unique in ', p_source, ': ''', LEFT(@farmsync_text, 64),
                     ''' occurs more than once; name all key columns'));
  END IF;
END //

DROP PROCEDURE IF EXISTS add_dataset_work //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE add_dataset_work(
  IN p_name VARCHAR(64), IN p_source TEXT, IN p_keys TEXT, IN p_options LONGTEXT)
  MODIFIES SQL DATA
BEGIN
  DECLARE v_schema, v_table VARCHAR(64);
  DECLARE v_source VARCHAR(193);
  DECLARE v_definitions, v_key, v_json, v_keys_json LONGTEXT;
  DECLARE v_text TEXT;
  CALL parse_source(p_source, v_schema, v_table);
  SET v_source = CONCAT('`', REPLACE(v_schema, '`', '``'), '`.`', REPLACE(v_table, '`', '``'), '`');
  IF LOWER(v_schema) = 'farmsync' THEN
    CALL fail('FS1019: farmsync''s own tables can''t be a dataset');
  END IF;
  CALL check_source(v_source);
  CALL take_columns(p_name, v_schema, v_table, p_options, v_definitions);
  CALL mark_keys(p_name, v_source, p_keys);
  CALL check_key(p_name, v_schema, v_table, v_source);

  SELECT GROUP_CONCAT(quoted ORDER BY key_place SEPARATOR ', '),
         CONCAT('[', GROUP_CONCAT(JSON_QUOTE(name) ORDER BY key_place SEPARATOR ','), ']')
    INTO v_key, v_keys_json FROM column_sql WHERE dataset = p_name AND key_place > 0;
  SELECT CONCAT('[', GROUP_CONCAT('{"name":', JSON_QUOTE(name), ',"type":"', kind, '","key":', key_place, '}'
                                  ORDER BY place SEPARATOR ','), ']')
    INTO v_json FROM dataset_column WHERE dataset = p_name;
  BEGIN
    DECLARE EXIT HANDLER FOR SQLEXCEPTION
    BEGIN
      GET DIAGNOSTICS CONDITION 1 v_text = MESSAGE_TEXT;
      CALL fail(CONCAT('FS1028: the version table of ', p_name, ' can''t be made: ', v_text,
                       '; use a view with smaller or fewer columns'));
    END;
    CALL run_sql(CONCAT('DROP TABLE IF EXISTS farmsync.`data_', p_name, '`'));
    CALL run_sql(CONCAT('CREATE TABLE farmsync.`data_', p_name, '` (fs_from BIGINT NOT NULL, ',
      'fs_to BIGINT NOT NULL, ', v_definitions, 'PRIMARY KEY (', v_key, ', fs_from), KEY fs_from (fs_from), ',
      'KEY fs_to (fs_to)) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4'));
    UPDATE dataset SET source = v_source, key_columns = v_keys_json, `columns` = v_json WHERE name = p_name;
    COMMIT;
    CALL make_views(p_name);
  END;
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
-- columns: only these of the source's; json: text columns of a view that hold JSON.
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
     WHERE o.k NOT IN ('group', 'columns', 'json');
    IF v_text IS NOT NULL THEN
      CALL fail(CONCAT('FS1014: there is no option "', v_text, '"; there are group, columns and json'));
    END IF;
    IF COALESCE(JSON_TYPE(JSON_EXTRACT(p_options, '$.columns')), 'ARRAY') <> 'ARRAY'
       OR COALESCE(JSON_TYPE(JSON_EXTRACT(p_options, '$.json')), 'ARRAY') <> 'ARRAY' THEN
      CALL fail('FS1014: the options columns and json are arrays of column names');
    END IF;
    SET v_group = COALESCE(JSON_UNQUOTE(JSON_EXTRACT(p_options, '$.group')), v_group);
  END IF;
  IF NOT EXISTS (SELECT 1 FROM sync WHERE group_name = v_group) THEN
    CALL fail(CONCAT('FS1003: there is no group ''', v_group,
                     '''; see SELECT group_name FROM farmsync.cycle, or CALL farmsync.add_group'));
  END IF;
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
  ROLLBACK;
  CALL run_sql(CONCAT('DROP VIEW IF EXISTS farmsync.`staged_', p_name, '`, farmsync.`active_', p_name,
                      '`, farmsync.`pending_', p_name, '`'));
  CALL run_sql(CONCAT('DROP TABLE IF EXISTS farmsync.`data_', p_name, '`'));
  START TRANSACTION;
  DELETE FROM dataset_column WHERE dataset = p_name;
  DELETE FROM dataset WHERE name = p_name AND dropped = 2;
  COMMIT;
END //

-- The dataset leaves the farm with the next version; what is in force now stays until then.
DROP PROCEDURE IF EXISTS drop_dataset //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE drop_dataset(IN p_name VARCHAR(255))
  MODIFIES SQL DATA
BEGIN
  DECLARE v_group VARCHAR(64);
  DECLARE v_dropped, v_purged TINYINT;
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
    UPDATE dataset SET dropped = 1 WHERE name = p_name;
    CALL note(v_group, 'drop_dataset', NULL, p_name);
    COMMIT;
    CALL make_pending();
    CALL purge_dataset(p_name, v_purged);
  END IF;
END //

-- --- groups ---------------------------------------------------------------------------------------

DROP PROCEDURE IF EXISTS add_group //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE add_group(IN p_group VARCHAR(255))
  MODIFIES SQL DATA
BEGIN
  DECLARE EXIT HANDLER FOR 1062
  BEGIN
    ROLLBACK;
    CALL fail(CONCAT('FS1043: there is a group ', p_group, ' already'));
  END;
  IF COALESCE(p_group, '') NOT REGEXP '^[A-Za-z0-9_]{1,48}$' THEN
    CALL fail(CONCAT('FS1043: ''', COALESCE(p_group, 'NULL'),
                     ''' can''t be a group''s name; use 1 to 48 letters, digits and _'));
  END IF;
  START TRANSACTION;
  INSERT INTO sync (group_name, activation_time, grid_time)
  VALUES (p_group, UTC_TIMESTAMP(6), UTC_TIMESTAMP(6));
  CALL note(p_group, 'add_group', NULL, '');
  COMMIT;
END //

DROP PROCEDURE IF EXISTS drop_group //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE drop_group(IN p_group VARCHAR(255))
  MODIFIES SQL DATA
BEGIN
  DECLARE v_name VARCHAR(64);
  DECLARE EXIT HANDLER FOR SQLEXCEPTION
  BEGIN
    ROLLBACK;
    RESIGNAL;
  END;
  START TRANSACTION;
  CALL take_group(p_group);
  SELECT MIN(name) INTO v_name FROM dataset WHERE group_name = p_group;
  IF v_name IS NOT NULL OR p_group = 'default' THEN
    CALL fail(CONCAT('FS1044: group ', p_group, ' stays',
      COALESCE(CONCAT(': it has dataset ', v_name, '; drop that and let an activation pass first'),
               ': it is the one that is used where none is named')));
  END IF;
  DELETE FROM image WHERE group_name = p_group;
  DELETE FROM member WHERE group_name = p_group;
  DELETE FROM sync WHERE group_name = p_group;
  CALL note(p_group, 'drop_group', NULL, '');
  COMMIT;
END //

-- --- the cycle, for operators -----------------------------------------------------------------------

-- Takes effect at once. An activation that is announced is never put off: a server that is cut off would
-- still keep to the old time.
DROP PROCEDURE IF EXISTS set_interval //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE set_interval(IN p_group VARCHAR(255), IN p_seconds BIGINT)
  MODIFIES SQL DATA
BEGIN
  DECLARE v_now, v_next, v_time DATETIME(6);
  DECLARE v_version, v_active BIGINT;
  DECLARE EXIT HANDLER FOR SQLEXCEPTION
  BEGIN
    ROLLBACK;
    RESIGNAL;
  END;
  IF p_seconds IS NULL OR p_seconds < 1 OR p_seconds > 31536000 THEN
    CALL fail(CONCAT('FS1040: an interval of ', COALESCE(p_seconds, 'NULL'),
                     ' s is out of range; give 1 to 31536000 seconds'));
  END IF;
  START TRANSACTION;
  CALL take_group(p_group);
  SET v_now = UTC_TIMESTAMP(6);
  -- The new grid starts from the last moment of the old one.
  UPDATE sync SET grid_time = grid_time + INTERVAL
           FLOOR(TIMESTAMPDIFF(MICROSECOND, grid_time, v_now) / (sync_interval * 1000000)) * sync_interval SECOND
   WHERE group_name = p_group AND grid_time <= v_now;
  UPDATE sync SET sync_interval = p_seconds WHERE group_name = p_group;
  SELECT activation_time, version, active_version INTO v_time, v_version, v_active
    FROM sync WHERE group_name = p_group;
  IF v_time > v_now THEN
    CALL next_activation(p_group, v_version <> v_active, v_next);
    UPDATE sync SET activation_time = IF(v_version = v_active, v_next, LEAST(v_time, v_next))
     WHERE group_name = p_group;
  END IF;
  CALL note(p_group, 'set_interval', NULL, CONCAT(p_seconds, ' s'));
  COMMIT;
END //

-- How long servers get to retrieve a version before it is in force; at most half the interval is taken.
DROP PROCEDURE IF EXISTS set_lead //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE set_lead(IN p_group VARCHAR(255), IN p_seconds DECIMAL(20,3))
  MODIFIES SQL DATA
BEGIN
  DECLARE EXIT HANDLER FOR SQLEXCEPTION
  BEGIN
    ROLLBACK;
    RESIGNAL;
  END;
  IF p_seconds IS NULL OR p_seconds < 0.1 OR p_seconds > 3600 THEN
    CALL fail(CONCAT('FS1041: a lead of ', COALESCE(p_seconds, 'NULL'),
                     ' s is out of range; give 0.1 to 3600 seconds'));
  END IF;
  START TRANSACTION;
  CALL take_group(p_group);
  UPDATE sync SET min_lead = p_seconds WHERE group_name = p_group;
  CALL note(p_group, 'set_lead', NULL, CONCAT(p_seconds, ' s'));
  COMMIT;
END //

DROP PROCEDURE IF EXISTS set_keep_versions //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE set_keep_versions(IN p_group VARCHAR(255), IN p_count BIGINT)
  MODIFIES SQL DATA
BEGIN
  DECLARE EXIT HANDLER FOR SQLEXCEPTION
  BEGIN
    ROLLBACK;
    RESIGNAL;
  END;
  IF p_count IS NULL OR p_count < 2 OR p_count > 100000 THEN
    CALL fail(CONCAT('FS1042: ', COALESCE(p_count, 'NULL'),
                     ' versions can''t be kept; give 2 to 100000'));
  END IF;
  START TRANSACTION;
  CALL take_group(p_group);
  UPDATE sync SET keep_versions = p_count WHERE group_name = p_group;
  CALL note(p_group, 'set_keep_versions', NULL, p_count);
  COMMIT;
END //

-- Nothing is promoted until resume. A version that is announced already still becomes active.
DROP PROCEDURE IF EXISTS hold //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE hold(IN p_group VARCHAR(255))
  MODIFIES SQL DATA
BEGIN
  DECLARE EXIT HANDLER FOR SQLEXCEPTION
  BEGIN
    ROLLBACK;
    RESIGNAL;
  END;
  START TRANSACTION;
  CALL take_group(p_group);
  UPDATE sync SET state = 'held', reason = LEFT(CONCAT('held by ', USER()), 512) WHERE group_name = p_group;
  CALL note(p_group, 'hold', NULL, '');
  COMMIT;
END //

DROP PROCEDURE IF EXISTS resume //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE resume(IN p_group VARCHAR(255))
  MODIFIES SQL DATA
BEGIN
  DECLARE v_state VARCHAR(16);
  DECLARE EXIT HANDLER FOR SQLEXCEPTION
  BEGIN
    ROLLBACK;
    RESIGNAL;
  END;
  START TRANSACTION;
  CALL take_group(p_group);
  SELECT state INTO v_state FROM sync WHERE group_name = p_group;
  IF v_state <> 'held' THEN
    CALL fail(CONCAT('FS1047: group ', p_group, ' isn''t held; its state is ', v_state));
  END IF;
  UPDATE sync SET state = 'running', reason = '' WHERE group_name = p_group;
  CALL note(p_group, 'resume', NULL, '');
  COMMIT;
END //

-- What production holds now is in force as soon as every server can have it: what is staged after the lead,
-- and what production holds beyond that after one more.
DROP PROCEDURE IF EXISTS activate_now //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE activate_now(IN p_group VARCHAR(255))
  MODIFIES SQL DATA
BEGIN
  DECLARE v_now, v_soon DATETIME(6);
  DECLARE v_state VARCHAR(16);
  DECLARE EXIT HANDLER FOR SQLEXCEPTION
  BEGIN
    ROLLBACK;
    RESIGNAL;
  END;
  START TRANSACTION;
  CALL take_group(p_group);
  SET v_now = UTC_TIMESTAMP(6);
  SELECT state, v_now + INTERVAL LEAST(CAST(min_lead * 1000000 AS SIGNED), sync_interval * 1000000 DIV 2) MICROSECOND
    INTO v_state, v_soon FROM sync WHERE group_name = p_group;
  IF v_state = 'held' THEN
    CALL fail(CONCAT('FS1048: group ', p_group, ' is held; CALL farmsync.resume(''', p_group, ''') first'));
  END IF;
  UPDATE sync SET activation_time = LEAST(activation_time, IF(version = active_version, v_now, v_soon)),
                  wanted_time = v_now
   WHERE group_name = p_group;
  CALL note(p_group, 'activate_now', NULL, '');
  COMMIT;
END //

-- One activation at exactly p_time (UTC), beside those of the grid. It takes what is staged if that wasn't
-- to be active before; else what production holds when the activation before it is done.
DROP PROCEDURE IF EXISTS activate_at //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE activate_at(IN p_group VARCHAR(255), IN p_time DATETIME(6))
  MODIFIES SQL DATA
BEGIN
  DECLARE v_now, v_time DATETIME(6);
  DECLARE v_state VARCHAR(16);
  DECLARE v_lead, v_version, v_active BIGINT;
  DECLARE EXIT HANDLER FOR SQLEXCEPTION
  BEGIN
    ROLLBACK;
    RESIGNAL;
  END;
  START TRANSACTION;
  CALL take_group(p_group);
  SET v_now = UTC_TIMESTAMP(6);
  SELECT state, activation_time, version, active_version,
         LEAST(CAST(min_lead * 1000000 AS SIGNED), sync_interval * 1000000 DIV 2)
    INTO v_state, v_time, v_version, v_active, v_lead FROM sync WHERE group_name = p_group;
  IF v_state = 'held' THEN
    CALL fail(CONCAT('FS1048: group ', p_group, ' is held; CALL farmsync.resume(''', p_group, ''') first'));
  END IF;
  IF p_time IS NULL OR p_time < v_now + INTERVAL v_lead MICROSECOND THEN
    CALL fail(CONCAT('FS1045: ', COALESCE(p_time, 'NULL'), ' is too soon: it is ', v_now, ' UTC, and servers need ',
                     TRIM(TRAILING '.' FROM TRIM(TRAILING '0' FROM v_lead / 1000000)),
                     ' s; give a later time (UTC) or activate_now'));
  END IF;
  IF p_time < v_time THEN
    UPDATE sync SET
      activation_time = IF(v_version = v_active,
                           GREATEST(v_now, p_time - INTERVAL 2 * v_lead MICROSECOND), p_time),
      wanted_time = IF(v_version = v_active, p_time, NULL)
     WHERE group_name = p_group;
  ELSE
    UPDATE sync SET wanted_time = p_time WHERE group_name = p_group;
  END IF;
  CALL note(p_group, 'activate_at', NULL, p_time);
  COMMIT;
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
  DECLARE v_each CURSOR FOR
    SELECT name FROM dataset WHERE group_name = p_group AND dropped = 0 ORDER BY name;
  DECLARE CONTINUE HANDLER FOR NOT FOUND SET v_done = 1;
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
      SET v_result = JSON_ARRAY_APPEND(v_result, '$', JSON_OBJECT('d', v_name, 'n', @farmsync_new, 'c',
                                                                @farmsync_changed, 'g', @farmsync_gone));
    END;
  END LOOP;
  CLOSE v_each;
  SELECT p_group AS group_name, j.* FROM JSON_TABLE(v_result, '$[*]' COLUMNS (
    dataset VARCHAR(64) PATH '$.d', new_rows BIGINT PATH '$.n', changed_rows BIGINT PATH '$.c',
    gone_rows BIGINT PATH '$.g', problem VARCHAR(512) PATH '$.p')) AS j;
END //

DELIMITER ;
SET SESSION sql_mode = @farmsync_old_mode;
