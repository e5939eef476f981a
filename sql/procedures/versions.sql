-- SPDX-License-Identifier: Apache-2.0
-- Versions that are kept: roll_back, pin, unpin, how many are kept, and the removal of the others.
--
-- A roll-back is a promotion from an old version instead of from production: a new version whose rows and
-- images are those of the old one. So no number ever means two contents and nobody ever goes back to a
-- lower one. Its rows of `image` are copied with digest and `since`: who still has those images transfers
-- nothing.
-- What is announced stays: a server that is cut off keeps to it. While a version is staged, the roll-back
-- is only ordered (`return_to`), and done by the promotion that follows its activation. What nobody may act on
-- yet (it waits for servers to be ready, see ready.sql) is replaced at once. What is rolled back to doesn't
-- wait itself: the servers have had it.
-- Loaded by ../procedures.sql, which sets the mode that procedures keep.
DELIMITER //

-- One dataset: what version p_to held is the content of p_new, which follows p_newest. p_changes: rows.
DROP PROCEDURE IF EXISTS return_dataset //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE return_dataset(
  IN p_group VARCHAR(64), IN p_name VARCHAR(64), IN p_to BIGINT, IN p_new BIGINT, OUT p_changes BIGINT)
  MODIFIES SQL DATA
BEGIN
  DECLARE v_errno INT;
  DECLARE v_text TEXT;
  DECLARE v_quoted, v_same LONGTEXT;
  DECLARE v_rows BIGINT;
  DECLARE EXIT HANDLER FOR SQLEXCEPTION
  BEGIN
    GET DIAGNOSTICS CONDITION 1 v_errno = MYSQL_ERRNO, v_text = MESSAGE_TEXT;
    IF v_errno IN (1020, 1047, 1205, 1213, 1317, 1644, 1927, 3101) THEN
      RESIGNAL;
    END IF;
    CALL fail(CONCAT('FS1126: dataset ', p_name, ' can''t be rolled back: ', v_text,
                     '; choose another version, or CALL farmsync.drop_dataset'));
  END;
  SELECT GROUP_CONCAT(quoted ORDER BY place SEPARATOR ', ') INTO v_quoted FROM column_sql WHERE dataset = p_name;
  SELECT GROUP_CONCAT('i.', quoted, ' = d.', quoted ORDER BY key_place SEPARATOR ' AND ')
    INTO v_same FROM column_sql WHERE dataset = p_name AND key_place > 0;
  -- Rows that have ended since begin again; rows that have begun since end. What stayed isn't touched.
  CALL run_sql(CONCAT('INSERT INTO farmsync.`data_', p_name, '` (fs_from, fs_to, ', v_quoted, ') SELECT ', p_new,
    ', 9223372036854775807, ', v_quoted, ' FROM farmsync.`data_', p_name, '` FORCE INDEX (fs_to) WHERE fs_to > ', p_to,
    ' AND fs_to < 9223372036854775807 AND fs_from <= ', p_to));
  CALL run_sql(CONCAT('UPDATE farmsync.`data_', p_name, '` FORCE INDEX (fs_from) SET fs_to = ', p_new,
    ' WHERE fs_from > ', p_to, ' AND fs_from < ', p_new, ' AND fs_to = 9223372036854775807'));
  CALL run_sql(CONCAT('SELECT COUNT(*) INTO @farmsync_count FROM farmsync.`data_', p_name,
                      '` WHERE fs_to = 9223372036854775807'));
  SELECT MAX(row_count) INTO v_rows FROM image WHERE group_name = p_group AND version = p_to AND dataset = p_name;
  IF @farmsync_count <> v_rows THEN
    CALL fail(CONCAT('FS1124: dataset ', p_name, ': ', @farmsync_count, ' rows of version ', p_to, ' are left of ', v_rows,
                     '; farmsync.data_', p_name, ' was changed by hand: choose another version'));
  END IF;
  CALL run_sql(CONCAT('SELECT COUNT(*) INTO @farmsync_changes FROM farmsync.`data_', p_name, '` WHERE fs_from = ', p_new));
  CALL run_sql(CONCAT('SELECT @farmsync_changes + COUNT(*) INTO @farmsync_changes FROM farmsync.`data_', p_name,
    '` AS d LEFT JOIN farmsync.`data_', p_name, '` AS i ON ', v_same, ' AND i.fs_from = ', p_new,
    ' WHERE d.fs_to = ', p_new, ' AND i.fs_from IS NULL'));
  SET p_changes = @farmsync_changes;
END //

-- The group's next version with the content of p_to, in force after the lead. The datasets are those of today:
-- one that was added since keeps what it has, one that was dropped since stays away. p_new is the newest
-- version itself if that has this content already. In a transaction that has taken the group.
DROP PROCEDURE IF EXISTS return_work //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE return_work(
  IN p_group VARCHAR(64), IN p_to BIGINT, OUT p_new BIGINT, OUT p_rows BIGINT, OUT p_detail TEXT)
  MODIFIES SQL DATA
work: BEGIN
  DECLARE v_done INT DEFAULT 0;
  DECLARE v_differ, v_newest, v_changes BIGINT DEFAULT 0;
  DECLARE v_name VARCHAR(64);
  DECLARE v_then, v_now CHAR(64);
  DECLARE v_changed, v_added, v_dropped TEXT;
  DECLARE v_each CURSOR FOR
    SELECT d.name, t.digest, n.digest FROM dataset d
      LEFT JOIN image t ON t.group_name = p_group AND t.version = p_to AND t.dataset = d.name
      LEFT JOIN image n ON n.group_name = p_group AND n.version = v_newest AND n.dataset = d.name
     WHERE d.group_name = p_group AND d.dropped = 0 AND COALESCE(t.dataset, n.dataset) IS NOT NULL ORDER BY d.name;
  DECLARE CONTINUE HANDLER FOR NOT FOUND SET v_done = 1;

  SELECT version INTO v_newest FROM sync WHERE group_name = p_group;
  SET p_new = v_newest + 1, p_rows = 0, p_detail = '';
  SELECT COUNT(*) INTO v_differ FROM image t JOIN dataset d ON d.name = t.dataset AND d.dropped = 0
    LEFT JOIN image n ON n.group_name = p_group AND n.version = v_newest AND n.dataset = t.dataset
   WHERE t.group_name = p_group AND t.version = p_to AND NOT (t.digest <=> n.digest);
  IF v_differ = 0 THEN
    SET p_new = v_newest;
    LEAVE work;
  END IF;

  DELETE FROM image WHERE group_name = p_group AND version = p_new;
  SET v_done = 0;
  OPEN v_each;
  each_dataset: LOOP
    FETCH v_each INTO v_name, v_then, v_now;
    IF v_done THEN
      LEAVE each_dataset;
    END IF;
    IF v_then IS NULL THEN
      SET v_added = CONCAT(COALESCE(CONCAT(v_added, ', '), ''), v_name);
    ELSEIF NOT (v_then <=> v_now) THEN
      CALL return_dataset(p_group, v_name, p_to, p_new, v_changes);
      SET p_rows = p_rows + v_changes;
      SET v_changed = CONCAT(COALESCE(CONCAT(v_changed, ', '), ''), v_name, ' ', v_changes);
    END IF;
    INSERT INTO image (group_name, version, dataset, digest, bytes, row_count, since)
    SELECT group_name, p_new, dataset, digest, bytes, row_count, since FROM image
     WHERE group_name = p_group AND dataset = v_name AND version = IF(v_then IS NULL, v_newest, p_to);
  END LOOP;
  CLOSE v_each;
  SELECT GROUP_CONCAT(t.dataset ORDER BY t.dataset SEPARATOR ', ') INTO v_dropped
    FROM image t LEFT JOIN dataset d ON d.name = t.dataset AND d.group_name = p_group AND d.dropped = 0
   WHERE t.group_name = p_group AND t.version = p_to AND d.name IS NULL;
  SET p_detail = CONCAT('to the content of version ', p_to, ': ', v_changed,
                        COALESCE(CONCAT('; added since and left as they are: ', v_added), ''),
                        COALESCE(CONCAT('; dropped since and not brought back: ', v_dropped), ''));
  -- Whatever the cheap ways have seen was brought into rows that have ended now.
  UPDATE dataset_changes c JOIN dataset d ON d.name = c.dataset SET c.full_at = NULL WHERE d.group_name = p_group;
  -- Last of all, so that the servers get the whole lead.
  UPDATE sync SET version = p_new, promoting = 0, wanted_time = NULL, content_time = NULL, promoted_at = UTC_TIMESTAMP(6),
                  state = IF(state = 'waiting', 'running', state), planned_time = NULL, ready_until = NULL,
                  activation_time = UTC_TIMESTAMP(6) + INTERVAL
                    LEAST(CAST(min_lead * 1000000 AS SIGNED), sync_interval * 1000000 DIV 2) MICROSECOND
   WHERE group_name = p_group;
END //

-- Why the group stands still, and what ends that. p_new: the version that has the content of p_to.
DROP PROCEDURE IF EXISTS return_keep //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE return_keep(
  IN p_group VARCHAR(64), IN p_to BIGINT, IN p_new BIGINT, IN p_pin TINYINT, IN p_who VARCHAR(255))
  MODIFIES SQL DATA
BEGIN
  DECLARE v_content VARCHAR(64) DEFAULT IF(p_to = p_new, '', CONCAT(' (the content of version ', p_to, ')'));
  IF p_pin THEN
    UPDATE sync SET pinned_version = p_new, state = IF(state = 'failed', 'running', state), return_to = NULL, return_pin = 0,
                    return_who = '', reason = LEFT(CONCAT('pinned to version ', p_new, v_content, ' by ', p_who,
                      '; CALL farmsync.unpin(''', p_group, ''') to go on'), 512)
     WHERE group_name = p_group;
  ELSE
    UPDATE sync SET state = 'held', return_to = NULL, return_pin = 0, return_who = '',
                    reason = LEFT(CONCAT('rolled back to the content of version ', p_to, ' by ', p_who,
                      '; CALL farmsync.resume(''', p_group, ''') when production is repaired'), 512)
     WHERE group_name = p_group;
  END IF;
END //

-- For promote_work: the roll-back that was ordered while another version was announced.
DROP PROCEDURE IF EXISTS return_ordered //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE return_ordered(IN p_group VARCHAR(64))
  MODIFIES SQL DATA
BEGIN
  DECLARE v_to, v_new, v_rows BIGINT;
  DECLARE v_pin TINYINT;
  DECLARE v_who VARCHAR(255);
  DECLARE v_detail TEXT;
  SELECT return_to, return_pin, return_who INTO v_to, v_pin, v_who FROM sync WHERE group_name = p_group;
  CALL return_work(p_group, v_to, v_new, v_rows, v_detail);
  CALL return_keep(p_group, v_to, v_new, v_pin, v_who);
  IF v_detail <> '' THEN
    INSERT INTO history (at, group_name, action, version, who, rows_changed, detail, account)
    VALUES (UTC_TIMESTAMP(6), p_group, 'roll_back', v_new, v_who, v_rows, LEFT(v_detail, 1024), LEFT(USER(), 255));
  END IF;
  SELECT 'returned' AS outcome, v_new AS version, v_rows AS rows_changed;
END //

-- roll_back and pin. What is decided, by what is in force, what is staged and p_version:
--   pin of what is in force, nothing staged    the group stands still
--   pin of what is staged                      it becomes active as announced, then the group stands still
--   anything else while a version is announced the roll-back is ordered
--   anything else                              the roll-back is done
DROP PROCEDURE IF EXISTS return_now //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE return_now(
  IN p_group VARCHAR(255), IN p_version BIGINT, IN p_pin TINYINT)
  MODIFIES SQL DATA
BEGIN
  DECLARE v_newest, v_active, v_in_force, v_pinned, v_new, v_rows, v_count BIGINT;
  DECLARE v_time DATETIME(6);
  DECLARE v_action VARCHAR(16);
  DECLARE v_announced TINYINT;
  DECLARE v_kept VARCHAR(64);
  DECLARE v_result, v_detail TEXT DEFAULT '';
  DECLARE v_who VARCHAR(255) DEFAULT LEFT(USER(), 255);
  CALL promote_check();
  CALL take_group(p_group);
  SELECT version, active_version, activation_time, pinned_version,
         IF(UTC_TIMESTAMP(6) < activation_time, active_version, version)
    INTO v_newest, v_active, v_time, v_pinned, v_in_force FROM sync WHERE group_name = p_group;
  SET v_announced = v_newest <> v_in_force AND v_time < '9999-01-01';
  -- Locked, so that they aren't pruned meanwhile.
  SELECT COUNT(*) INTO v_count FROM image WHERE group_name = p_group AND version = p_version LOCK IN SHARE MODE;
  IF v_count = 0 THEN
    SELECT CONCAT(MIN(version), ' to ', MAX(version)) INTO v_kept FROM image WHERE group_name = p_group;
    CALL fail(CONCAT('FS1120: group ', p_group, ' has no version ', COALESCE(p_version, 'NULL'), '; ',
                     COALESCE(CONCAT('kept are ', v_kept), 'nothing was promoted yet'), ': SELECT * FROM farmsync.versions'));
  END IF;
  SET v_action = IF(p_pin, 'pin', 'roll_back');
  IF p_pin THEN
    IF p_version = v_newest THEN
      SET v_action = 'keep';
    END IF;
  ELSEIF v_pinned IS NOT NULL THEN
    CALL fail(CONCAT('FS1125: group ', p_group, ' is pinned to version ', v_pinned, '; CALL farmsync.unpin(''', p_group,
                     ''') first, or pin the other version'));
  ELSEIF p_version = v_newest THEN
    CALL fail(CONCAT('FS1121: version ', p_version, ' is the newest',
      IF(v_newest = v_in_force, ' and in force: there is nothing to roll back; CALL farmsync.pin(''',
         ' and not in force yet: there is nothing to roll back; to keep it, CALL farmsync.pin('''), p_group, ''', ',
      p_version, ')', IF(v_newest = v_in_force, ' keeps it', '')));
  END IF;

  IF v_action = 'keep' THEN
    UPDATE sync SET active_version = IF(p_version = v_in_force, p_version, active_version) WHERE group_name = p_group;
    CALL return_keep(p_group, p_version, p_version, 1, v_who);
    SET v_new = p_version, v_result = CASE WHEN p_version = v_in_force THEN 'is in force and stays'
                                           WHEN v_announced THEN 'is announced and then stays'
                                           ELSE 'waits for servers to be ready and then stays' END;
    CALL note(p_group, 'pin', p_version, '');
  ELSEIF v_announced THEN
    UPDATE sync SET return_to = p_version, return_pin = p_pin, return_who = v_who, state = 'running', pinned_version = NULL,
                    reason = LEFT(CONCAT('version ', v_newest, ', announced for ', v_time, ', can''t be withdrawn; the content of ',
                      'version ', p_version, ' follows it (', v_action, ' by ', v_who, ')'), 512)
     WHERE group_name = p_group;
    CALL note(p_group, v_action, NULL, CONCAT('ordered: the content of version ', p_version, ' after version ', v_newest,
                                              ', which is announced for ', v_time));
    SET v_result = CONCAT('version ', v_newest, ' is announced already and can''t be withdrawn; as soon as it is active, the ',
                          'content of version ', p_version, ' follows');
  ELSE
    -- What an agent calls active is what is in force.
    UPDATE sync SET active_version = v_in_force, promoted_by = LEFT(v_who, 128) WHERE group_name = p_group;
    CALL return_work(p_group, p_version, v_new, v_rows, v_detail);
    IF v_new = v_newest AND NOT p_pin THEN
      CALL fail(CONCAT('FS1123: version ', p_version, ' has the content of version ', v_newest, ', the newest: there is nothing ',
                       'to roll back; CALL farmsync.hold(''', p_group, ''') or pin keeps it'));
    END IF;
    CALL return_keep(p_group, IF(v_new = v_newest, v_new, p_version), v_new, p_pin, v_who);
    IF p_pin AND v_detail <> '' THEN
      INSERT INTO history (at, group_name, action, version, who, rows_changed, detail, account)
      VALUES (UTC_TIMESTAMP(6), p_group, 'roll_back', v_new, v_who, v_rows, LEFT(v_detail, 1024), v_who);
      CALL note(p_group, 'pin', v_new, CONCAT('the content of version ', p_version));
    ELSEIF p_pin THEN
      CALL note(p_group, 'pin', v_new, CONCAT('it has the content of version ', p_version));
    ELSE
      CALL note(p_group, 'roll_back', v_new, v_detail);
      UPDATE history SET rows_changed = v_rows WHERE id = LAST_INSERT_ID();
    END IF;
    SET v_result = CONCAT('has the content of version ', p_version);
  END IF;
  SELECT IF(activation_time > '9999-01-01', NULL, activation_time) INTO v_time FROM sync WHERE group_name = p_group;
  IF v_new IS NULL THEN
    SELECT NULL AS version, NULL AS in_force_from, v_result AS result;
  ELSE
    SELECT v_new AS version, v_time AS in_force_from,
           CONCAT('version ', v_new, ' ', v_result, '; nothing is promoted until CALL farmsync.', IF(p_pin, 'unpin', 'resume'),
                  '(''', p_group, ''')') AS result;
  END IF;
END //

-- The transaction and the session that roll_back and pin need.
DROP PROCEDURE IF EXISTS return_session //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE return_session(
  IN p_group VARCHAR(255), IN p_version BIGINT, IN p_pin TINYINT)
  MODIFIES SQL DATA
BEGIN
  DECLARE v_zone VARCHAR(64) DEFAULT @@SESSION.time_zone;
  DECLARE v_length BIGINT DEFAULT @@SESSION.group_concat_max_len;
  DECLARE v_isolation VARCHAR(32) DEFAULT /*!80000 @@SESSION.transaction_isolation */ /*M! @@SESSION.tx_isolation */;
  DECLARE EXIT HANDLER FOR SQLEXCEPTION
  BEGIN
    ROLLBACK;
    SET SESSION time_zone = v_zone;
    SET SESSION group_concat_max_len = v_length;
    SET SESSION /*!80000 transaction_isolation */ /*M! tx_isolation */ = v_isolation;
    RESIGNAL;
  END;
  -- As a promotion: reads lock nothing, TIMESTAMP is copied without loss.
  SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED;
  SET SESSION time_zone = '+00:00';
  SET SESSION group_concat_max_len = 16777216;
  START TRANSACTION;
  CALL return_now(p_group, p_version, p_pin);
  COMMIT;
  SET SESSION time_zone = v_zone;
  SET SESSION group_concat_max_len = v_length;
  SET SESSION /*!80000 transaction_isolation */ /*M! tx_isolation */ = v_isolation;
END //

-- A new version with the content of p_version, in force after the lead; the group is held then.
DROP PROCEDURE IF EXISTS roll_back //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE roll_back(IN p_group VARCHAR(255), IN p_version BIGINT)
  MODIFIES SQL DATA
BEGIN
  CALL return_session(p_group, p_version, 0);
END //

-- Keeps the group at a version, or at the content of an older one, until unpin.
DROP PROCEDURE IF EXISTS pin //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE pin(IN p_group VARCHAR(255), IN p_version BIGINT)
  MODIFIES SQL DATA
BEGIN
  CALL return_session(p_group, p_version, 1);
END //

DROP PROCEDURE IF EXISTS unpin //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE unpin(IN p_group VARCHAR(255))
  MODIFIES SQL DATA
BEGIN
  DECLARE v_pinned, v_ordered BIGINT;
  DECLARE EXIT HANDLER FOR SQLEXCEPTION
  BEGIN
    ROLLBACK;
    RESIGNAL;
  END;
  START TRANSACTION;
  CALL take_group(p_group);
  SELECT pinned_version, IF(return_pin, return_to, NULL) INTO v_pinned, v_ordered FROM sync WHERE group_name = p_group;
  IF v_pinned IS NULL AND v_ordered IS NULL THEN
    CALL fail(CONCAT('FS1127: group ', p_group, ' isn''t pinned; see SELECT * FROM farmsync.cycle'));
  END IF;
  UPDATE sync SET pinned_version = NULL, return_to = IF(return_pin, NULL, return_to), return_pin = 0,
                  reason = CASE WHEN state <> 'held' THEN '' WHEN reason LIKE 'FS1142:%' THEN reason
                                ELSE 'held since before the group was pinned' END
   WHERE group_name = p_group;
  CALL note(p_group, 'unpin', v_pinned, COALESCE(CONCAT('the content of version ', v_ordered, ' isn''t brought back'), ''));
  COMMIT;
END //

-- Versions are kept while they are among the newest p_count, or were in force within the last set_keep_age seconds.
DROP PROCEDURE IF EXISTS set_keep_versions //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE set_keep_versions(IN p_group VARCHAR(255), IN p_count DECIMAL(40,20))
  MODIFIES SQL DATA
BEGIN
  DECLARE v_count BIGINT;
  DECLARE EXIT HANDLER FOR SQLEXCEPTION
  BEGIN
    ROLLBACK;
    RESIGNAL;
  END;
  CALL take_whole('FS1042: ', p_count, ' versions to keep', 2, 100000, '2 to 100000', v_count);
  START TRANSACTION;
  CALL take_group(p_group);
  UPDATE sync SET keep_versions = v_count WHERE group_name = p_group;
  CALL note(p_group, 'set_keep_versions', NULL, v_count);
  COMMIT;
END //

DROP PROCEDURE IF EXISTS set_keep_age //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE set_keep_age(IN p_group VARCHAR(255), IN p_seconds DECIMAL(40,20))
  MODIFIES SQL DATA
BEGIN
  DECLARE v_seconds BIGINT;
  DECLARE EXIT HANDLER FOR SQLEXCEPTION
  BEGIN
    ROLLBACK;
    RESIGNAL;
  END;
  CALL take_whole('FS1129: an age of ', p_seconds, ' s', 0, 315360000,
                  '1 to 315360000 seconds, or 0 to keep by number only', v_seconds);
  START TRANSACTION;
  CALL take_group(p_group);
  UPDATE sync SET keep_age = v_seconds WHERE group_name = p_group;
  CALL note(p_group, 'set_keep_age', NULL, CONCAT(v_seconds, ' s'));
  COMMIT;
END //

-- The oldest version that has to be kept. One of the versions whose images are entered, or more than all of
-- them; what is in force and what somebody still asks for is never below it.
DROP PROCEDURE IF EXISTS oldest_kept //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE oldest_kept(IN p_group VARCHAR(64), OUT p_oldest BIGINT)
  READS SQL DATA
BEGIN
  DECLARE v_keep, v_age, v_first, v_young, v_back BIGINT;
  DECLARE v_since DATETIME(6);
  DECLARE CONTINUE HANDLER FOR NOT FOUND BEGIN END;
  SELECT GREATEST(1, keep_versions), keep_age INTO v_keep, v_age FROM sync WHERE group_name = p_group;
  SELECT MIN(v.version) INTO p_oldest FROM (SELECT DISTINCT version FROM image WHERE group_name = p_group
                                             ORDER BY version DESC LIMIT v_keep) AS v;
  IF v_age > 0 THEN
    SET v_since = UTC_TIMESTAMP(6) - INTERVAL v_age SECOND;
    SELECT MIN(version) INTO v_first FROM image WHERE group_name = p_group;
    -- From the oldest on, so that the index ends the search at the first that is young enough.
    SELECT version INTO v_young FROM history WHERE group_name = p_group AND action = 'promote' AND version >= v_first
       AND at > v_since ORDER BY version LIMIT 1;
    SELECT version INTO v_back FROM history WHERE group_name = p_group AND action = 'roll_back' AND version >= v_first
       AND at > v_since ORDER BY version LIMIT 1;
    -- The one before it may have been staged then, and the one before that in force.
    SET p_oldest = LEAST(p_oldest, COALESCE(LEAST(COALESCE(v_young, v_back), COALESCE(v_back, v_young)) - 2, p_oldest));
  END IF;
  -- Whoever has not heard of the newest activation yet still needs active_version.
  SELECT LEAST(COALESCE(p_oldest, version), version, IF(active_version > 0, active_version, version),
               COALESCE(pinned_version, version), COALESCE(return_to, version))
    INTO p_oldest FROM sync WHERE group_name = p_group;
END //

-- Removes rows of versions that nobody can ask for any more, at most p_max_rows of each dataset. Images first: a
-- version whose images are entered has all its rows.
DROP PROCEDURE IF EXISTS prune //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE prune(IN p_group VARCHAR(64), IN p_max_rows BIGINT)
  MODIFIES SQL DATA
BEGIN
  DECLARE v_done, v_dropped INT DEFAULT 0;
  DECLARE v_purged TINYINT;
  DECLARE v_name VARCHAR(64);
  DECLARE v_oldest, v_first BIGINT;
  DECLARE v_left BIGINT DEFAULT 0;
  DECLARE v_each CURSOR FOR SELECT name, dropped FROM dataset WHERE group_name = p_group;
  DECLARE CONTINUE HANDLER FOR NOT FOUND SET v_done = 1;
  CALL true_time();
  CALL need_group(p_group);
  CALL oldest_kept(p_group, v_oldest);
  SELECT MIN(version) INTO v_first FROM image WHERE group_name = p_group;
  IF v_oldest > v_first + 100 THEN
    -- Whole versions, but not all at once.
    SET v_left = v_oldest - v_first - 100, v_oldest = v_first + 100;
  END IF;
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
      CALL run_sql(CONCAT('DELETE FROM farmsync.`data_', v_name, '` WHERE fs_to <= ', v_oldest, ' ORDER BY fs_to LIMIT ',
                          GREATEST(1, p_max_rows)));
      -- Not counted to the end: of millions that would cost more than removing some.
      CALL run_sql(CONCAT('SELECT COUNT(*) INTO @farmsync_left FROM (SELECT fs_to FROM farmsync.`data_', v_name,
                          '` WHERE fs_to <= ', v_oldest, ' LIMIT 10000) AS l'));
      SET v_left = v_left + @farmsync_left;
    END IF;
  END LOOP;
  CLOSE v_each;
  DELETE FROM member WHERE group_name = p_group AND seen < UTC_TIMESTAMP(6) - INTERVAL 7 DAY;
  SELECT v_left AS rows_left;
END //

DELIMITER ;
