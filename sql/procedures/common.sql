-- SPDX-License-Identifier: Apache-2.0
-- Parts that the other procedures use.
-- Loaded by ../procedures.sql, which sets the mode that procedures keep.
DELIMITER //

-- Ends the caller with a sentence. MySQL allows 128 characters, MariaDB 512.
DROP PROCEDURE IF EXISTS fail //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE fail(IN p_text TEXT)
  NO SQL
BEGIN
  DECLARE v_text VARCHAR(512);
  SET v_text = LEFT(p_text, /*M! 512 + 0 * */ 128);
  SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = v_text;
END //

-- An operator's whole number. It comes as DECIMAL: as BIGINT a fraction would be rounded without a word. p_what:
-- message number and beginning of the sentence; p_unit: what is counted; p_give: what can be given.
DROP PROCEDURE IF EXISTS take_whole //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE take_whole(
  IN p_what TEXT, IN p_value DECIMAL(40,20), IN p_unit TEXT, IN p_least BIGINT, IN p_most BIGINT, IN p_give TEXT,
  OUT p_whole BIGINT)
  NO SQL
BEGIN
  SET p_what = CONCAT(p_what, COALESCE(TRIM(TRAILING '.' FROM TRIM(TRAILING '0' FROM p_value)), 'NULL'), p_unit);
  IF p_value IS NULL OR p_value < p_least OR p_value > p_most THEN
    CALL fail(CONCAT(p_what, ' is out of range; give ', p_give));
  ELSEIF p_value <> FLOOR(p_value) THEN
    CALL fail(CONCAT(p_what, ' is no whole number; give ', FLOOR(p_value), ' or ', FLOOR(p_value) + 1));
  END IF;
  SET p_whole = p_value;
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

-- Nobody brings a time of his own: with SET timestamp a session could promote before the moment, and history would lie.
DROP PROCEDURE IF EXISTS true_time //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE true_time()
  NO SQL
BEGIN
  -- Where that needs a right (secure_timestamp), who hasn't got it can't have set it.
  DECLARE CONTINUE HANDLER FOR 1227, 1290 BEGIN END;
  SET SESSION timestamp = DEFAULT;
END //

-- Records an act in history, with the reason that the operator has given in @farmsync_comment, which is then
-- used up: it belongs to one act.
DROP PROCEDURE IF EXISTS note //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE note(
  IN p_group VARCHAR(64), IN p_action VARCHAR(32), IN p_version BIGINT, IN p_detail TEXT)
  MODIFIES SQL DATA
BEGIN
  INSERT INTO history (at, group_name, action, version, who, detail, comment, account)
  VALUES (UTC_TIMESTAMP(6), p_group, p_action, p_version, LEFT(USER(), 255), LEFT(p_detail, 1024),
          LEFT(COALESCE(CONVERT(@farmsync_comment USING utf8mb4), ''), 512), LEFT(USER(), 255));
  SET @farmsync_comment = NULL;
END //

-- Counted with SELECT ... INTO, here and elsewhere: IF EXISTS (SELECT ...) would be a locking read.
DROP PROCEDURE IF EXISTS need_group //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE need_group(IN p_group VARCHAR(255))
  READS SQL DATA
BEGIN
  DECLARE v_count INT;
  SELECT COUNT(*) INTO v_count FROM sync WHERE group_name = p_group;
  IF v_count = 0 THEN
    CALL fail(CONCAT('FS1003: there is no group ''', COALESCE(p_group, 'NULL'),
                     '''; see SELECT group_name FROM farmsync.cycle, or CALL farmsync.add_group'));
  END IF;
END //

-- Takes the row of the group for the rest of the transaction. Every operator's act begins with it.
DROP PROCEDURE IF EXISTS take_group //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE take_group(IN p_group VARCHAR(255))
  MODIFIES SQL DATA
BEGIN
  CALL true_time();
  -- The row first: what is read after it is not older than the wait for it.
  UPDATE sync SET epoch = epoch + 1 WHERE group_name = p_group;
  IF ROW_COUNT() = 0 THEN
    CALL need_group(p_group);
  END IF;
END //

-- When the group's next activation is: the first moment on the grid that leaves the lead, or the moment
-- that an operator wants if that comes first. p_staged: something is staged for it.
DROP PROCEDURE IF EXISTS next_activation //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE next_activation(
  IN p_group VARCHAR(64), IN p_staged TINYINT, OUT p_next DATETIME(6))
  READS SQL DATA
BEGIN
  CALL activation_after(p_group, p_staged, UTC_TIMESTAMP(6), p_next);
END //

-- The same, if it were p_now.
DROP PROCEDURE IF EXISTS activation_after //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE activation_after(
  IN p_group VARCHAR(64), IN p_staged TINYINT, IN p_now DATETIME(6), OUT p_next DATETIME(6))
  READS SQL DATA
BEGIN
  DECLARE v_grid, v_wanted, v_earliest DATETIME(6);
  DECLARE v_active, v_interval, v_lead, v_behind BIGINT;
  SELECT active_version, sync_interval * 1000000, grid_time, wanted_time,
         LEAST(CAST(min_lead * 1000000 AS SIGNED), sync_interval * 1000000 DIV 2)
    INTO v_active, v_interval, v_grid, v_wanted, v_lead
    FROM sync WHERE group_name = p_group;
  SET v_earliest = p_now + INTERVAL v_lead MICROSECOND;
  IF p_staged AND v_active = 0 THEN
    -- The first version of all: nobody has anything yet, so nobody waits for the grid.
    SET p_next = v_earliest;
  ELSE
    SET v_behind = GREATEST(0, TIMESTAMPDIFF(MICROSECOND, v_grid, v_earliest));
    SET p_next = v_grid + INTERVAL ((v_behind + v_interval - 1) DIV v_interval) * v_interval MICROSECOND;
    IF v_wanted IS NOT NULL AND p_staged THEN
      SET p_next = LEAST(p_next, GREATEST(v_wanted, v_earliest));
    ELSEIF v_wanted - INTERVAL 2 * v_lead MICROSECOND > p_now THEN
      -- Nothing to stage for the wanted moment yet: look again just before it.
      SET p_next = LEAST(p_next, v_wanted - INTERVAL 2 * v_lead MICROSECOND);
    END IF;
  END IF;
END //

DELIMITER ;
