-- SPDX-License-Identifier: Apache-2.0
-- A promotion that isn't done: production is read, brought into the version tables, checked, and rolled back.
-- Loaded by ../procedures.sql, which sets the mode that procedures keep.
DELIMITER //

-- What a promotion would stage and what it would say, inside the caller's transaction, which must not be committed.
-- p_changes: a JSON array of dataset, new, changed, gone; p_checks: as of evaluate_checks; p_problem: why it would be
-- refused; p_rows: rows changed, NULL if nothing would be staged; p_digest: only where the group needs approval, because
-- it costs as much as reading production.
DROP PROCEDURE IF EXISTS try_promotion //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE try_promotion(
  IN p_group VARCHAR(64), OUT p_changes LONGTEXT, OUT p_checks LONGTEXT, OUT p_digest CHAR(64), OUT p_rows BIGINT,
  OUT p_problem TEXT)
  MODIFIES SQL DATA
BEGIN
  DECLARE v_done, v_ds, v_errno, v_moved, v_approval INT DEFAULT 0;
  DECLARE v_name VARCHAR(64);
  DECLARE v_version, v_count BIGINT;
  DECLARE v_time DATETIME(6);
  DECLARE v_each CURSOR FOR
    SELECT name FROM dataset WHERE group_name = p_group AND dropped = 0 ORDER BY name;
  DECLARE CONTINUE HANDLER FOR NOT FOUND SET v_done = 1;
  DECLARE EXIT HANDLER FOR SQLEXCEPTION
  BEGIN
    GET DIAGNOSTICS CONDITION 1 v_errno = MYSQL_ERRNO, p_problem = MESSAGE_TEXT;
    DROP TEMPORARY TABLE IF EXISTS difference;
    IF v_errno <> 1644 THEN
      RESIGNAL;
    END IF;
  END;
  SET p_changes = JSON_ARRAY(), p_checks = JSON_ARRAY(), p_problem = NULL, p_digest = NULL, p_rows = 0;
  SELECT version INTO v_version FROM sync WHERE group_name = p_group;
  CALL datasets_moved(p_group, v_version, v_moved);
  SELECT COUNT(*) INTO v_count FROM dataset WHERE group_name = p_group AND dropped = 0;
  IF v_count > 0 THEN
    CALL pending_time(p_group, v_time);
    CALL promote_read(p_group, v_time);
  END IF;
  SELECT COUNT(*) INTO v_approval FROM group_gate WHERE group_name = p_group AND approval;
  IF v_approval > 0 THEN
    CALL pending_digest(p_group, v_version, v_count, p_digest, v_count);
  END IF;
  SET v_done = 0;
  OPEN v_each;
  each_dataset: LOOP
    FETCH v_each INTO v_name;
    IF v_done THEN
      LEAVE each_dataset;
    END IF;
    SET v_ds = v_ds + 1;
    CALL run_sql(CONCAT('SELECT COALESCE(SUM(op = ''n''), 0), COALESCE(SUM(op = ''c''), 0), COALESCE(SUM(op = ''g''), 0) INTO ',
      '@farmsync_new, @farmsync_changed, @farmsync_gone FROM farmsync.difference WHERE ds = ', v_ds));
    SET p_changes = JSON_ARRAY_APPEND(p_changes, '$', JSON_OBJECT('d', v_name, 'n', @farmsync_new, 'c', @farmsync_changed,
                                                                'g', @farmsync_gone));
    SET p_rows = p_rows + @farmsync_new + @farmsync_changed + @farmsync_gone;
    CALL promote_apply(v_name, v_ds, v_version + 1, v_count);
  END LOOP;
  CLOSE v_each;
  IF p_rows > 0 OR v_moved > 0 THEN
    CALL evaluate_checks(p_group, v_version + 1, p_checks);
    CALL first_failed(p_group, p_checks, p_problem);
  ELSE
    SET p_rows = NULL;
  END IF;
  DROP TEMPORARY TABLE IF EXISTS difference;
END //

-- The session as a promotion needs it, and back. The caller keeps what it was.
DROP PROCEDURE IF EXISTS session_for_promotion //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE session_for_promotion()
  NO SQL
BEGIN
  SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED;
  SET SESSION time_zone = '+00:00';
  SET SESSION group_concat_max_len = 16777216;
END //

DROP PROCEDURE IF EXISTS session_back //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE session_back(
  IN p_isolation VARCHAR(32), IN p_zone VARCHAR(64), IN p_length BIGINT)
  NO SQL
BEGIN
  SET SESSION /*!80000 transaction_isolation */ /*M! tx_isolation */ = p_isolation;
  SET SESSION time_zone = p_zone;
  SET SESSION group_concat_max_len = p_length;
END //

-- Everything but promote: what would change, what the checks say, and whether it would be staged. Changes nothing; it
-- holds the group's row as long as a promotion does. Values that can't go into an image are found by a promotion only.
DROP PROCEDURE IF EXISTS dry_run //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE dry_run(IN p_group VARCHAR(255))
  MODIFIES SQL DATA
BEGIN
  DECLARE v_zone VARCHAR(64) DEFAULT @@SESSION.time_zone;
  DECLARE v_length BIGINT DEFAULT @@SESSION.group_concat_max_len;
  DECLARE v_isolation VARCHAR(32) DEFAULT /*!80000 @@SESSION.transaction_isolation */ /*M! @@SESSION.tx_isolation */;
  DECLARE v_changes, v_checks LONGTEXT;
  DECLARE v_digest CHAR(64);
  DECLARE v_rows BIGINT;
  DECLARE v_problem TEXT;
  DECLARE EXIT HANDLER FOR SQLEXCEPTION
  BEGIN
    ROLLBACK;
    CALL session_back(v_isolation, v_zone, v_length);
    RESIGNAL;
  END;
  CALL session_for_promotion();
  START TRANSACTION;
  CALL promote_check();
  CALL take_group(p_group);
  CALL try_promotion(p_group, v_changes, v_checks, v_digest, v_rows, v_problem);
  ROLLBACK;
  CALL session_back(v_isolation, v_zone, v_length);
  SELECT r.what, r.dataset, r.name, r.result, r.row_count, r.detail
    FROM (SELECT 1 AS part, j.place, 'change' AS what, j.d AS dataset, n.name, '' AS result,
                 CASE n.name WHEN 'new' THEN j.n WHEN 'changed' THEN j.c ELSE j.g END AS row_count, '' AS detail
            FROM JSON_TABLE(v_changes, '$[*]' COLUMNS (place FOR ORDINALITY, d VARCHAR(64) PATH '$.d', n BIGINT PATH '$.n',
                            c BIGINT PATH '$.c', g BIGINT PATH '$.g')) AS j
            JOIN (SELECT 'new' AS name UNION ALL SELECT 'changed' UNION ALL SELECT 'gone') AS n
          UNION ALL
          SELECT 2, j.place, 'check', j.d, j.n, j.r, j.c, j.t
            FROM JSON_TABLE(v_checks, '$[*]' COLUMNS (place FOR ORDINALITY, d VARCHAR(64) PATH '$.d', n VARCHAR(64) PATH '$.n',
                            r VARCHAR(8) PATH '$.r', c BIGINT PATH '$.c', t VARCHAR(1024) PATH '$.t')) AS j
          UNION ALL
          SELECT 3, 1, 'outcome', NULL, 'promotion', IF(v_problem IS NOT NULL, 'refused', IF(v_rows IS NULL, 'unchanged', 'staged')),
                 v_rows, COALESCE(v_problem, '')
          UNION ALL
          SELECT 3, 2, 'outcome', NULL, 'digest', IF(a.requested = v_digest AND a.approved_by IS NOT NULL, 'approved',
                 'not approved'), NULL, v_digest
            FROM group_gate AS a WHERE a.group_name = p_group AND v_rows IS NOT NULL AND v_digest IS NOT NULL) AS r
   ORDER BY r.part, r.place, r.dataset, FIELD(r.name, 'new', 'changed', 'gone');
END //

DELIMITER ;
