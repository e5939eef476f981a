-- SPDX-License-Identifier: Apache-2.0
-- What agents and datasrv report of themselves, and what is removed when nobody needs it any more.
-- Loaded by ../procedures.sql, which sets the mode that procedures keep.
DELIMITER //

DROP PROCEDURE IF EXISTS report_members //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE report_members(IN p_members LONGTEXT)
  MODIFIES SQL DATA
BEGIN
  IF p_members IS NULL OR NOT JSON_VALID(p_members) OR JSON_TYPE(p_members) <> 'ARRAY' THEN
    CALL fail('FS1050: report_members takes a JSON array of objects');
  END IF;
  CALL true_time();
  INSERT INTO member (name, kind, group_name, address, version_active, version_staged, digest,
                      digest_staged, clock_offset_us, clock_bound_us, clock_source, problem, seen, listen)
  SELECT j.name, j.kind, j.group_name, COALESCE(j.address, ''), COALESCE(j.version_active, 0),
         COALESCE(j.version_staged, 0), COALESCE(j.digest, ''), COALESCE(j.digest_staged, ''), j.clock_offset_us, j.clock_bound_us,
         COALESCE(j.clock_source, ''), LEFT(COALESCE(j.problem, ''), 256), UTC_TIMESTAMP(6),
         COALESCE(j.listen, '')
    FROM JSON_TABLE(p_members, '$[*]' COLUMNS (
           name VARCHAR(64) PATH '$.name',
           kind VARCHAR(8) PATH '$.kind',
           group_name VARCHAR(64) PATH '$.group',
           address VARCHAR(128) PATH '$.address',
           version_active BIGINT PATH '$.version_active',
           version_staged BIGINT PATH '$.version_staged',
           digest VARCHAR(64) PATH '$.digest',
           digest_staged VARCHAR(64) PATH '$.digest_staged',
           clock_offset_us BIGINT PATH '$.clock_offset_us',
           clock_bound_us BIGINT PATH '$.clock_bound_us',
           clock_source VARCHAR(64) PATH '$.clock_source',
           problem VARCHAR(1024) PATH '$.problem',
           listen VARCHAR(288) PATH '$.listen')) AS j
   ORDER BY j.name, j.group_name
  ON DUPLICATE KEY UPDATE
    -- Two servers of one name take turns in one row; a server that moved does so once.
    problem = IF(member.address <> '' AND VALUES(address) <> '' AND member.address <> VALUES(address)
                 AND member.seen > UTC_TIMESTAMP(6) - INTERVAL 5 SECOND,
                 LEFT(CONCAT('FS1052: two servers report by this name, ', member.address, ' and ', VALUES(address),
                             '; give each a FarmSyncServer of its own'), 256), VALUES(problem)),
    kind = VALUES(kind), address = VALUES(address),
    version_active = VALUES(version_active), version_staged = VALUES(version_staged),
    digest = VALUES(digest), digest_staged = VALUES(digest_staged), clock_offset_us = VALUES(clock_offset_us),
    clock_bound_us = VALUES(clock_bound_us), clock_source = VALUES(clock_source),
    seen = VALUES(seen), listen = VALUES(listen);
END //

-- Takes a server that is no more out of the view farm.
DROP PROCEDURE IF EXISTS forget_member //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE forget_member(IN p_name VARCHAR(64))
  MODIFIES SQL DATA
BEGIN
  DECLARE v_groups TEXT;
  DECLARE v_comment LONGTEXT DEFAULT @farmsync_comment;
  DECLARE EXIT HANDLER FOR SQLEXCEPTION
  BEGIN
    ROLLBACK;
    RESIGNAL;
  END;
  CALL true_time();
  START TRANSACTION;
  SELECT GROUP_CONCAT(group_name ORDER BY group_name) INTO v_groups FROM member WHERE name = p_name;
  DELETE FROM member WHERE name = p_name;
  IF ROW_COUNT() = 0 OR v_groups IS NULL THEN
    CALL fail(CONCAT('FS1051: there is no member ''', COALESCE(p_name, 'NULL'),
                     '''; see SELECT * FROM farmsync.farm'));
  END IF;
  -- It may be of several groups: each has the act, and its comment, in its history.
  WHILE v_groups <> '' DO
    SET @farmsync_comment = v_comment;
    CALL note(SUBSTRING_INDEX(v_groups, ',', 1), 'forget_member', NULL, p_name);
    SET v_groups = SUBSTRING(v_groups, CHAR_LENGTH(SUBSTRING_INDEX(v_groups, ',', 1)) + 2);
  END WHILE;
  COMMIT;
END //

-- Removes all that is left of a dropped dataset, unless a server may still ask for it.
DROP PROCEDURE IF EXISTS purge_dataset //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE purge_dataset(IN p_name VARCHAR(64), OUT p_purged TINYINT)
  MODIFIES SQL DATA
BEGIN
  DECLARE v_group VARCHAR(64);
  DECLARE v_left TEXT;
  SELECT COUNT(*) = 0 INTO p_purged
    FROM dataset d JOIN sync s ON s.group_name = d.group_name
    JOIN image i ON i.group_name = d.group_name AND i.dataset = d.name
     AND (i.version = s.version OR i.version = s.active_version AND UTC_TIMESTAMP(6) < s.activation_time)
   WHERE d.name = p_name;
  IF p_purged THEN
    SELECT MAX(group_name) INTO v_group FROM dataset WHERE name = p_name;
    CALL drop_triggers(p_name, v_left);
    CALL run_sql(CONCAT('DROP VIEW IF EXISTS farmsync.`staged_', p_name, '`, farmsync.`active_', p_name,
                        '`, farmsync.`pending_', p_name, '`'));
    CALL run_sql(CONCAT('DROP TABLE IF EXISTS farmsync.`data_', p_name, '`, farmsync.`changed_', p_name, '`'));
    START TRANSACTION;
    -- By the group: else it would wait for the promotions of all others.
    DELETE FROM image WHERE group_name = v_group AND dataset = p_name;
    DELETE FROM dataset_changes WHERE dataset = p_name;
    DELETE FROM dataset_check WHERE dataset = p_name;
    DELETE FROM dataset_limits WHERE dataset = p_name;
    DELETE FROM dataset_column WHERE dataset = p_name;
    DELETE FROM dataset WHERE name = p_name;
    COMMIT;
  END IF;
END //

DELIMITER ;
