-- SPDX-License-Identifier: Apache-2.0
-- What operators do with groups and their cycle. Each act is one transaction that begins with take_group, so
-- that it waits for a promotion that is under way, and is recorded in history.
-- Loaded by ../procedures.sql, which sets the mode that procedures keep.
DELIMITER //

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
  CALL true_time();
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
  DECLARE v_approval TINYINT;
  DECLARE EXIT HANDLER FOR SQLEXCEPTION
  BEGIN
    ROLLBACK;
    RESIGNAL;
  END;
  START TRANSACTION;
  CALL take_group(p_group);
  SELECT MAX(approval) INTO v_approval FROM group_gate WHERE group_name = p_group;
  IF v_approval = 1 THEN
    -- Or an operator would be rid of it by adding the group anew.
    CALL fail(CONCAT('FS1044: group ', p_group, ' stays: it needs approval; an administrator can CALL farmsync.set_approval(''',
                     p_group, ''', ''off'') first'));
  END IF;
  SELECT MIN(name) INTO v_name FROM dataset WHERE group_name = p_group;
  IF v_name IS NOT NULL OR p_group = 'default' THEN
    CALL fail(CONCAT('FS1044: group ', p_group, ' stays',
      COALESCE(CONCAT(': it has dataset ', v_name, '; drop that and let an activation pass first'),
               ': it is the one that is used where none is named')));
  END IF;
  DELETE FROM image WHERE group_name = p_group;
  DELETE FROM member WHERE group_name = p_group;
  DELETE FROM group_gate WHERE group_name = p_group;
  DELETE FROM sync WHERE group_name = p_group;
  CALL note(p_group, 'drop_group', NULL, '');
  COMMIT;
END //

-- Takes effect at once. An activation that is announced is never put off: a server that is cut off would
-- still keep to the old time.
DROP PROCEDURE IF EXISTS set_interval //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE set_interval(
  IN p_group VARCHAR(255), IN p_seconds DECIMAL(40,20))
  MODIFIES SQL DATA
BEGIN
  DECLARE v_seconds BIGINT;
  DECLARE v_now, v_next, v_time DATETIME(6);
  DECLARE v_version, v_active BIGINT;
  DECLARE EXIT HANDLER FOR SQLEXCEPTION
  BEGIN
    ROLLBACK;
    RESIGNAL;
  END;
  CALL take_whole('FS1040: an interval of ', p_seconds, ' s', 1, 31536000, '1 to 31536000 seconds', v_seconds);
  START TRANSACTION;
  CALL take_group(p_group);
  SET v_now = UTC_TIMESTAMP(6);
  -- The new grid starts from the last moment of the old one.
  UPDATE sync SET grid_time = grid_time + INTERVAL
           FLOOR(TIMESTAMPDIFF(MICROSECOND, grid_time, v_now) / (sync_interval * 1000000)) * sync_interval SECOND
   WHERE group_name = p_group AND grid_time <= v_now;
  UPDATE sync SET sync_interval = v_seconds WHERE group_name = p_group;
  SELECT activation_time, version, active_version INTO v_time, v_version, v_active
    FROM sync WHERE group_name = p_group;
  IF v_time > v_now AND v_time < '9999-01-01' THEN
    CALL next_activation(p_group, v_version <> v_active, v_next);
    IF v_version = v_active THEN
      CALL look_ahead(p_group, v_now, v_next);
    ELSE
      CALL not_before_due(p_group, v_next);
    END IF;
    UPDATE sync SET activation_time = IF(v_version = v_active, v_next, LEAST(v_time, v_next))
     WHERE group_name = p_group;
  END IF;
  CALL note(p_group, 'set_interval', NULL, CONCAT(v_seconds, ' s'));
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

-- Nothing is promoted until resume. A version that is announced already still becomes active.
DROP PROCEDURE IF EXISTS hold //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE hold(IN p_group VARCHAR(255))
  MODIFIES SQL DATA
BEGIN
  DECLARE v_return BIGINT;
  DECLARE v_pin TINYINT;
  DECLARE EXIT HANDLER FOR SQLEXCEPTION
  BEGIN
    ROLLBACK;
    RESIGNAL;
  END;
  START TRANSACTION;
  CALL take_group(p_group);
  SELECT return_to, return_pin INTO v_return, v_pin FROM sync WHERE group_name = p_group;
  IF v_return IS NOT NULL THEN
    CALL fail(CONCAT('FS1128: group ', p_group, ' is about to be rolled back and stands still after that; CALL farmsync.',
                     IF(v_pin, 'unpin', 'resume'), '(''', p_group, ''') first to give that up'));
  END IF;
  UPDATE sync SET state = 'held', reason = IF(pinned_version IS NULL, LEFT(CONCAT('held by ', USER()), 512), reason)
   WHERE group_name = p_group;
  CALL note(p_group, 'hold', NULL, '');
  COMMIT;
END //

DROP PROCEDURE IF EXISTS resume //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE resume(IN p_group VARCHAR(255))
  MODIFIES SQL DATA
BEGIN
  DECLARE v_state VARCHAR(16);
  DECLARE v_return BIGINT;
  DECLARE v_waits TINYINT;
  DECLARE v_planned, v_until DATETIME(6);
  DECLARE EXIT HANDLER FOR SQLEXCEPTION
  BEGIN
    ROLLBACK;
    RESIGNAL;
  END;
  START TRANSACTION;
  CALL take_group(p_group);
  SELECT state, IF(return_pin, NULL, return_to) INTO v_state, v_return FROM sync WHERE group_name = p_group;
  IF v_state <> 'held' AND v_return IS NULL THEN
    CALL fail(CONCAT('FS1047: group ', p_group, ' isn''t held; its state is ', v_state));
  END IF;
  UPDATE sync SET state = 'running', return_to = NULL, reason = IF(pinned_version IS NULL, '', reason)
   WHERE group_name = p_group;
  CALL ready_waits(p_group, v_waits, v_planned, v_until);
  IF v_waits THEN
    CALL ready_again(p_group);
  END IF;
  CALL note(p_group, 'resume', NULL,
            COALESCE(CONCAT('the content of version ', v_return, ' isn''t brought back'), ''));
  COMMIT;
END //

DROP PROCEDURE IF EXISTS need_running //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE need_running(IN p_group VARCHAR(255))
  READS SQL DATA
BEGIN
  DECLARE v_held, v_pinned BIGINT;
  SELECT SUM(state = 'held'), MAX(pinned_version) INTO v_held, v_pinned FROM sync WHERE group_name = p_group;
  IF v_pinned IS NOT NULL THEN
    CALL fail(CONCAT('FS1125: group ', p_group, ' is pinned to version ', v_pinned, '; CALL farmsync.unpin(''', p_group,
                     ''') first'));
  END IF;
  IF v_held > 0 THEN
    CALL fail(CONCAT('FS1048: group ', p_group, ' is held; CALL farmsync.resume(''', p_group, ''') first'));
  END IF;
END //

-- What production holds now is in force as soon as every server can have it: what is staged after the lead,
-- and what production holds beyond that after one more. What waits for servers waits no longer.
DROP PROCEDURE IF EXISTS activate_now //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE activate_now(IN p_group VARCHAR(255))
  MODIFIES SQL DATA
BEGIN
  DECLARE v_now, v_soon, v_due, v_planned, v_until DATETIME(6);
  DECLARE v_waits TINYINT;
  DECLARE v_members, v_ready BIGINT;
  DECLARE v_text VARCHAR(900) DEFAULT '';
  DECLARE EXIT HANDLER FOR SQLEXCEPTION
  BEGIN
    ROLLBACK;
    RESIGNAL;
  END;
  START TRANSACTION;
  CALL take_group(p_group);
  SET v_now = UTC_TIMESTAMP(6);
  SELECT v_now + INTERVAL LEAST(CAST(min_lead * 1000000 AS SIGNED), sync_interval * 1000000 DIV 2) MICROSECOND
    INTO v_soon FROM sync WHERE group_name = p_group;
  CALL need_running(p_group);
  SET v_due = v_soon;
  CALL not_before_due(p_group, v_due);
  CALL ready_waits(p_group, v_waits, v_planned, v_until);
  IF v_waits THEN
    CALL ready_count(p_group, v_members, v_ready, v_text);
    UPDATE sync SET planned_time = IF(v_due > v_soon, v_due, v_now) WHERE group_name = p_group;
    CALL ready_go(p_group, '');
    UPDATE sync SET wanted_time = v_now WHERE group_name = p_group;
  ELSE
    UPDATE sync SET activation_time = LEAST(activation_time, IF(version = active_version, v_now, v_due)),
                    wanted_time = v_now
     WHERE group_name = p_group;
  END IF;
  IF v_due > v_soon THEN
    SET v_text = CONCAT_WS('; ', NULLIF(v_text, ''), CONCAT('what is staged holds a change that isn''t due before ', v_due, ' UTC'));
  END IF;
  CALL note(p_group, 'activate_now', NULL, v_text);
  COMMIT;
END //

-- One activation at exactly p_time (UTC), beside those of the grid. It takes what is staged if that wasn't
-- to be active before; else what production holds when the activation before it is done.
DROP PROCEDURE IF EXISTS activate_at //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE activate_at(IN p_group VARCHAR(255), IN p_time DATETIME(6))
  MODIFIES SQL DATA
BEGIN
  DECLARE v_now, v_time, v_planned, v_until, v_due DATETIME(6);
  DECLARE v_lead, v_version, v_active, v_step BIGINT;
  DECLARE v_waits TINYINT;
  DECLARE EXIT HANDLER FOR SQLEXCEPTION
  BEGIN
    ROLLBACK;
    RESIGNAL;
  END;
  START TRANSACTION;
  CALL take_group(p_group);
  SET v_now = UTC_TIMESTAMP(6);
  SELECT activation_time, version, active_version,
         LEAST(CAST(min_lead * 1000000 AS SIGNED), sync_interval * 1000000 DIV 2)
    INTO v_time, v_version, v_active, v_lead FROM sync WHERE group_name = p_group;
  CALL need_running(p_group);
  CALL ready_waits(p_group, v_waits, v_planned, v_until);
  IF v_waits THEN
    CALL ready_times(p_group, v_step, v_lead);
  END IF;
  IF p_time IS NULL OR p_time < v_now + INTERVAL v_lead MICROSECOND THEN
    CALL fail(CONCAT('FS1045: ', COALESCE(p_time, 'NULL'), ' is too soon: it is ', v_now, ' UTC, and servers need ',
                     TRIM(TRAILING '.' FROM TRIM(TRAILING '0' FROM v_lead / 1000000)),
                     ' s; give a later time (UTC) or activate_now'));
  END IF;
  SET v_due = p_time;
  CALL not_before_due(p_group, v_due);
  IF v_due > p_time THEN
    CALL fail(CONCAT('FS1078: version ', v_version, ' is staged and holds a change that isn''t due before ', v_due,
                     ' UTC; give that time or a later one'));
  END IF;
  IF v_waits THEN
    UPDATE sync SET planned_time = p_time, ready_until = p_time + INTERVAL ready_limit SECOND
     WHERE group_name = p_group;
  ELSEIF p_time < v_time THEN
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

DELIMITER ;
