-- SPDX-License-Identifier: Apache-2.0
-- Ready before it counts. Where a group's policy is not `time`, a version that was promoted waits: it is
-- announced, so that servers retrieve it, but nobody may act on it. In the tables such a version has no
-- activation time at all (year 9999), whatever reads them; planned_time is when it is to be in force if enough
-- servers are ready. `decide` looks, and orders: then the group runs again and activation_time is a moment that
-- is never put off. doc/cycle.md says why no server can act on a time that was put off.
-- Loaded by ../procedures.sql, which sets the mode that procedures keep.
DELIMITER //

-- p_step: the steps in which an activation is put off. p_notice: how long before an activation it must have been
-- decided; lib/sync/fs_cycle.h has the same rule, for a server's silence is measured by it.
DROP PROCEDURE IF EXISTS ready_times //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE ready_times(
  IN p_group VARCHAR(64), OUT p_step BIGINT, OUT p_notice BIGINT)
  READS SQL DATA
BEGIN
  SELECT LEAST(CAST(min_lead * 1000000 AS SIGNED), sync_interval * 1000000 DIV 2) INTO p_step
    FROM sync WHERE group_name = p_group;
  SET p_notice = GREATEST(p_step, 3000000);
END //

-- A version was staged, and the sync row says when for: it waits, if the group's policy says so. The last step of
-- whatever stages a version, in its transaction.
DROP PROCEDURE IF EXISTS ready_stage //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE ready_stage(IN p_group VARCHAR(64))
  MODIFIES SQL DATA
BEGIN
  DECLARE v_length BIGINT DEFAULT @@SESSION.group_concat_max_len;
  DECLARE v_percent, v_limit INT;
  DECLARE v_step, v_notice, v_version, v_interval, v_late BIGINT;
  DECLARE v_digest VARCHAR(64);
  DECLARE v_time, v_grid, v_soon DATETIME(6);
  DECLARE EXIT HANDLER FOR SQLEXCEPTION
  BEGIN
    SET SESSION group_concat_max_len = v_length;
    RESIGNAL;
  END;
  SELECT ready_percent, ready_limit, version, activation_time, grid_time, sync_interval * 1000000
    INTO v_percent, v_limit, v_version, v_time, v_grid, v_interval
    FROM sync WHERE group_name = p_group;
  IF v_percent IS NOT NULL THEN
    -- What a server reports that has it all: as fs_manifest_version_digest.
    SET SESSION group_concat_max_len = 16777216;
    SELECT SHA2(GROUP_CONCAT(CAST(dataset AS BINARY), UNHEX('00'), UNHEX(digest)
                             ORDER BY CAST(dataset AS BINARY) SEPARATOR ''), 256) INTO v_digest
      FROM image WHERE group_name = p_group AND version = v_version;
    SET SESSION group_concat_max_len = v_length;
    -- Servers get the lead to retrieve it, then it can be decided. What is on the grid stays there: until then
    -- a server that has not heard of this version is sure of the one before.
    CALL ready_times(p_group, v_step, v_notice);
    SET v_soon = UTC_TIMESTAMP(6) + INTERVAL v_step + v_notice MICROSECOND;
    IF TIMESTAMPDIFF(MICROSECOND, v_grid, v_time) % v_interval = 0 AND v_version > 1 THEN
      SET v_late = GREATEST(0, TIMESTAMPDIFF(MICROSECOND, v_time, v_soon));
      SET v_time = v_time + INTERVAL ((v_late + v_interval - 1) DIV v_interval) * v_interval MICROSECOND;
    ELSE
      SET v_time = GREATEST(v_time, v_soon);
    END IF;
    UPDATE sync SET state = 'waiting', planned_time = v_time, put_off = 0,
                    ready_until = v_time + INTERVAL v_limit SECOND, staged_digest = COALESCE(v_digest, ''),
                    activation_time = '9999-12-31 00:00:00'
     WHERE group_name = p_group;
  END IF;
END //

-- Whether a version waits, held or not; when it is to be in force and how long that may be put off.
DROP PROCEDURE IF EXISTS ready_waits //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE ready_waits(
  IN p_group VARCHAR(64), OUT p_waits TINYINT, OUT p_planned DATETIME(6), OUT p_until DATETIME(6))
  READS SQL DATA
BEGIN
  SELECT COUNT(*), MAX(planned_time), MAX(ready_until) INTO p_waits, p_planned, p_until
    FROM sync WHERE group_name = p_group AND planned_time IS NOT NULL AND activation_time > '9999-01-01';
END //

-- How many servers count, how many are ready, and a text that says so and names those that aren't.
DROP PROCEDURE IF EXISTS ready_count //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE ready_count(
  IN p_group VARCHAR(64), OUT p_members BIGINT, OUT p_ready BIGINT, OUT p_text VARCHAR(900))
  READS SQL DATA
BEGIN
  DECLARE v_names TEXT;
  SELECT COUNT(*), COALESCE(SUM(lacks = ''), 0),
         SUBSTRING_INDEX(GROUP_CONCAT(IF(lacks = '', NULL, CONCAT(name, ' (', lacks, ')')) ORDER BY name
                                      SEPARATOR '; '), '; ', 8)
    INTO p_members, p_ready, v_names FROM readiness WHERE group_name = p_group;
  SET p_text = LEFT(CONCAT(p_ready, ' of ', p_members, ' servers are ready',
                           COALESCE(CONCAT('; not yet: ', v_names), ''),
                           IF(p_members - p_ready > 8, CONCAT(' and ', p_members - p_ready - 8, ' more'), '')), 900);
END //

-- Gives the order: in force at the planned time, or as soon as every server that can be reached has heard of it.
-- In a transaction that has taken the group's row.
DROP PROCEDURE IF EXISTS ready_go //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE ready_go(IN p_group VARCHAR(64), IN p_reason VARCHAR(512))
  MODIFIES SQL DATA
BEGIN
  DECLARE v_step, v_notice BIGINT;
  CALL ready_times(p_group, v_step, v_notice);
  UPDATE sync SET state = 'running', reason = IF(pinned_version IS NULL, p_reason, reason),
                  activation_time = GREATEST(planned_time, UTC_TIMESTAMP(6) + INTERVAL v_notice MICROSECOND),
                  planned_time = NULL, ready_until = NULL
   WHERE group_name = p_group;
  UPDATE sync SET wanted_time = NULL WHERE group_name = p_group AND wanted_time <= activation_time;
END //

-- Records a decision as an act of a server of the farm.
DROP PROCEDURE IF EXISTS ready_note //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE ready_note(
  IN p_group VARCHAR(64), IN p_action VARCHAR(32), IN p_who VARCHAR(128), IN p_detail TEXT)
  MODIFIES SQL DATA
BEGIN
  INSERT INTO history (at, group_name, action, version, who, detail, account)
  SELECT UTC_TIMESTAMP(6), p_group, p_action, version, p_who, LEFT(p_detail, 1024), LEFT(USER(), 255)
    FROM sync WHERE group_name = p_group;
END //

-- Acts upon what was decided; the row is taken.
DROP PROCEDURE IF EXISTS ready_act //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE ready_act(
  IN p_group VARCHAR(64), IN p_outcome VARCHAR(16), IN p_who VARCHAR(128), IN p_text VARCHAR(900))
  MODIFIES SQL DATA
BEGIN
  DECLARE v_step, v_notice, v_late, v_version BIGINT;
  DECLARE v_put_off INT;
  DECLARE v_planned, v_until, v_soon DATETIME(6);
  CALL ready_times(p_group, v_step, v_notice);
  SELECT version, put_off, planned_time, ready_until INTO v_version, v_put_off, v_planned, v_until
    FROM sync WHERE group_name = p_group;
  CASE p_outcome
    WHEN 'go' THEN
      CALL ready_go(p_group, '');
      CALL ready_note(p_group, 'ready', p_who, p_text);
    WHEN 'put off' THEN
      SET v_soon = UTC_TIMESTAMP(6) + INTERVAL v_notice MICROSECOND;
      SET v_late = GREATEST(0, TIMESTAMPDIFF(MICROSECOND, v_planned, v_soon));
      SET v_planned = v_planned + INTERVAL (v_late DIV v_step + 1) * v_step MICROSECOND;
      UPDATE sync SET planned_time = GREATEST(LEAST(v_planned, v_until), v_soon), put_off = put_off + 1,
                      reason = IF(pinned_version IS NULL, LEFT(CONCAT('FS1140: version ', v_version, ' is put off: ', p_text), 512),
                                  reason)
       WHERE group_name = p_group;
      IF v_put_off = 0 THEN
        CALL ready_note(p_group, 'put_off', p_who, p_text);
      END IF;
    WHEN 'activated' THEN
      CALL ready_go(p_group, LEFT(CONCAT('FS1141: version ', v_version, ' is activated at the limit: ', p_text), 512));
      CALL ready_note(p_group, 'limit', p_who, CONCAT('activated: ', p_text));
    WHEN 'held' THEN
      UPDATE sync SET state = 'held', reason = LEFT(CONCAT('FS1142: version ', v_version,
        ' is held at the limit (resume waits anew, then activate_now doesn''t wait): ', p_text), 512)
       WHERE group_name = p_group;
      CALL ready_note(p_group, 'limit', p_who, CONCAT('held: ', p_text));
  END CASE;
END //

-- Decides about a version that waits, if it is time to: 'go', 'put off', at the limit 'activated' or 'held'; 'wait'
-- and 'lost' (another epoch: somebody else was first) change nothing. Any datasrv or agent, as often as it likes.
DROP PROCEDURE IF EXISTS decide //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE decide(
  IN p_group VARCHAR(64), IN p_epoch BIGINT, IN p_who VARCHAR(128))
  MODIFIES SQL DATA
decision: BEGIN
  DECLARE v_count, v_percent INT;
  DECLARE v_members, v_ready, v_step, v_notice BIGINT;
  DECLARE v_text VARCHAR(900) DEFAULT '';
  DECLARE v_on_limit, v_outcome VARCHAR(16);
  DECLARE v_planned, v_until DATETIME(6);
  DECLARE EXIT HANDLER FOR SQLEXCEPTION
  BEGIN
    ROLLBACK;
    RESIGNAL;
  END;
  CALL true_time();
  SELECT COUNT(*), MAX(ready_percent), MAX(ready_on_limit), MAX(planned_time), MAX(ready_until)
    INTO v_count, v_percent, v_on_limit, v_planned, v_until FROM sync
   WHERE group_name = p_group AND epoch = p_epoch AND state = 'waiting' AND planned_time IS NOT NULL
     AND activation_time > '9999-01-01';
  IF v_count = 0 THEN
    SELECT 'lost' AS outcome, '' AS detail;
    LEAVE decision;
  END IF;
  CALL ready_times(p_group, v_step, v_notice);
  CALL ready_count(p_group, v_members, v_ready, v_text);
  SET v_outcome = CASE
    WHEN v_ready * 100 >= v_members * COALESCE(v_percent, 0) THEN 'go'
    WHEN UTC_TIMESTAMP(6) < v_planned - INTERVAL v_notice MICROSECOND THEN 'wait'
    WHEN v_planned < v_until THEN 'put off'
    WHEN v_on_limit = 'hold' THEN 'held'
    ELSE 'activated'
  END;
  IF v_outcome <> 'wait' THEN
    START TRANSACTION;
    UPDATE sync SET epoch = epoch + 1 WHERE group_name = p_group AND epoch = p_epoch AND state = 'waiting';
    IF ROW_COUNT() = 1 THEN
      CALL ready_act(p_group, v_outcome, p_who, v_text);
    ELSE
      SET v_outcome = 'lost';
    END IF;
    COMMIT;
  END IF;
  SELECT v_outcome AS outcome, v_text AS detail;
END //

-- Goes on waiting after a hold. Whoever didn't hear of that calls itself stale by then (FS_CYCLE_SILENCE).
DROP PROCEDURE IF EXISTS ready_again //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE ready_again(IN p_group VARCHAR(64))
  MODIFIES SQL DATA
BEGIN
  DECLARE v_step, v_notice BIGINT;
  CALL ready_times(p_group, v_step, v_notice);
  UPDATE sync SET state = 'waiting', put_off = 0,
                  planned_time = GREATEST(planned_time,
                    UTC_TIMESTAMP(6) + INTERVAL 10000000 + v_step + v_notice MICROSECOND)
   WHERE group_name = p_group;
  UPDATE sync SET ready_until = planned_time + INTERVAL ready_limit SECOND WHERE group_name = p_group;
END //

-- Who must be ready before a version may become active: 'time' nobody, 'all', or a percentage of the servers.
-- p_limit: seconds that an activation is put off at most (NULL: 300); p_on_limit: 'activate' (NULL: that) or 'hold'.
DROP PROCEDURE IF EXISTS set_ready //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE set_ready(
  IN p_group VARCHAR(255), IN p_policy VARCHAR(255), IN p_limit DECIMAL(40,20), IN p_on_limit VARCHAR(255))
  MODIFIES SQL DATA
BEGIN
  DECLARE v_percent INT;
  DECLARE v_limit BIGINT;
  DECLARE v_waits TINYINT;
  DECLARE v_planned, v_until DATETIME(6);
  DECLARE EXIT HANDLER FOR SQLEXCEPTION
  BEGIN
    ROLLBACK;
    RESIGNAL;
  END;
  SET p_limit = COALESCE(p_limit, 300), p_on_limit = COALESCE(p_on_limit, 'activate');
  IF COALESCE(p_policy, '') NOT REGEXP '^(time|all|([1-9][0-9]?|100)%?)$' THEN
    CALL fail(CONCAT('FS1143: ''', COALESCE(p_policy, 'NULL'),
                     ''' is no policy; give ''time'', ''all'' or a percentage of the servers, 1 to 100'));
  END IF;
  CALL take_whole('FS1144: a limit of ', p_limit, ' s', 0, 604800, '0 to 604800 seconds', v_limit);
  IF p_on_limit NOT IN ('activate', 'hold') THEN
    CALL fail(CONCAT('FS1145: ''', p_on_limit, ''' can''t be done at the limit; give ''activate'' or ''hold'''));
  END IF;
  SET v_percent = CASE p_policy WHEN 'time' THEN NULL WHEN 'all' THEN 100
                                ELSE CAST(REPLACE(p_policy, '%', '') AS UNSIGNED) END;
  START TRANSACTION;
  CALL take_group(p_group);
  UPDATE sync SET ready_percent = v_percent, ready_limit = v_limit, ready_on_limit = p_on_limit
   WHERE group_name = p_group;
  CALL ready_waits(p_group, v_waits, v_planned, v_until);
  IF v_waits THEN
    UPDATE sync SET ready_until = planned_time + INTERVAL v_limit SECOND WHERE group_name = p_group;
  END IF;
  CALL note(p_group, 'set_ready', NULL, IF(v_percent IS NULL, 'time', CONCAT(IF(p_policy = 'all', 'all',
            CONCAT(v_percent, ' %')), ', at the limit of ', v_limit, ' s ', p_on_limit)));
  COMMIT;
END //

DELIMITER ;
