-- SPDX-License-Identifier: Apache-2.0
-- Approval: a group can require that a second database account confirms what is pending before it is promoted. What
-- is confirmed is content, by its digest: if production is changed afterwards, the digest is another and nothing is
-- promoted until that is confirmed. The cycle goes on meanwhile.
--
-- The digest covers the group, the version it starts from, the datasets, and each row that is new, changed or gone.
-- It is a SHA-256 of the datasets' SHA-256; a dataset's is that of 4096 buckets, a bucket's that of the sorted
-- SHA-256 of its rows: so the order of rows doesn't count, and no list becomes too long for GROUP_CONCAT.
--
-- Promotions of such a group compare in full, so that they read just what was confirmed.
-- Loaded by ../procedures.sql, which sets the mode that procedures keep.
DELIMITER //

-- How many datasets the newest version lacks or has too many: they make a new version without a changed row.
DROP PROCEDURE IF EXISTS datasets_moved //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE datasets_moved(
  IN p_group VARCHAR(64), IN p_version BIGINT, OUT p_count INT)
  READS SQL DATA
BEGIN
  SELECT COUNT(*) INTO p_count FROM dataset d
    LEFT JOIN image i ON i.group_name = p_group AND i.version = p_version AND i.dataset = d.name
   WHERE d.group_name = p_group AND d.dropped = 0 AND i.dataset IS NULL;
  SELECT p_count + COUNT(*) INTO p_count FROM image i
    LEFT JOIN dataset d ON d.name = i.dataset AND d.group_name = p_group AND d.dropped = 0
   WHERE i.group_name = p_group AND i.version = p_version AND d.name IS NULL;
END //

-- For promote_read.
DROP PROCEDURE IF EXISTS compare_in_full //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE compare_in_full(IN p_group VARCHAR(64))
  MODIFIES SQL DATA
BEGIN
  DECLARE v_approval TINYINT;
  SELECT COALESCE(MAX(approval), 0) INTO v_approval FROM group_gate WHERE group_name = p_group;
  IF v_approval THEN
    UPDATE dataset_changes SET full_at = NULL
     WHERE dataset IN (SELECT name FROM dataset WHERE group_name = p_group AND dropped = 0);
  END IF;
END //

-- The digest of what `difference` holds, and its rows.
DROP PROCEDURE IF EXISTS pending_digest //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE pending_digest(
  IN p_group VARCHAR(64), IN p_version BIGINT, IN p_datasets INT, OUT p_digest CHAR(64), OUT p_rows BIGINT)
  MODIFIES SQL DATA
BEGIN
  DECLARE v_done, v_ds INT DEFAULT 0;
  DECLARE v_name VARCHAR(64);
  DECLARE v_columns, v_fields LONGTEXT;
  DECLARE v_each CURSOR FOR
    SELECT name, `columns` FROM dataset WHERE group_name = p_group AND dropped = 0 ORDER BY name;
  DECLARE CONTINUE HANDLER FOR NOT FOUND SET v_done = 1;
  SET p_digest = SHA2(CONCAT('farmsync pending 1 ', p_group, ' ', p_version, ' ', p_datasets), 256), p_rows = 0;
  OPEN v_each;
  each_dataset: LOOP
    FETCH v_each INTO v_name, v_columns;
    IF v_done THEN
      LEAVE each_dataset;
    END IF;
    SET v_ds = v_ds + 1;
    -- Each field with its length; long ones by their own hash, so that a row doesn't outgrow max_allowed_packet.
    SELECT GROUP_CONCAT('CASE WHEN ', f.x, ' IS NULL THEN ''N'' WHEN LENGTH(', f.x, ') < 256 THEN CONCAT(LENGTH(', f.x, '), '':'', ',
                        f.x, ') ELSE CONCAT(''H'', SHA2(', f.x, ', 256)) END' ORDER BY f.place SEPARATOR ', ')
      INTO v_fields
      FROM (SELECT place, CASE WHEN read_as = 'text' THEN CONCAT('CAST(CONVERT(t.', slot, ' USING utf8mb4) AS BINARY)')
                               WHEN kind = 'binary' THEN CONCAT('t.', slot)
                               ELSE CONCAT('CAST(CAST(t.', slot, ' AS CHAR) AS BINARY)') END AS x
              FROM dataset_column WHERE dataset = v_name) AS f;
    SET @farmsync_text = NULL, @farmsync_count = 0;
    CALL run_sql(CONCAT('SELECT SHA2(GROUP_CONCAT(b.h ORDER BY b.k SEPARATOR ''''), 256), COALESCE(SUM(b.n), 0) INTO @farmsync_text, ',
      '@farmsync_count FROM (SELECT LEFT(r.h, 3) AS k, COUNT(*) AS n, SHA2(GROUP_CONCAT(r.h ORDER BY r.h SEPARATOR ''''), 256) AS h ',
      'FROM (SELECT SHA2(CONCAT(t.op, ', v_fields, '), 256) AS h FROM farmsync.difference AS t WHERE t.ds = ', v_ds,
      ' AND t.op IN (''n'', ''c'', ''g'')) AS r GROUP BY LEFT(r.h, 3)) AS b'));
    SET p_rows = p_rows + @farmsync_count;
    SET p_digest = SHA2(CONCAT(p_digest, ' ', v_name, ' ', SHA2(v_columns, 256), ' ', @farmsync_count, ' ',
                               COALESCE(@farmsync_text, '')), 256);
  END LOOP;
  CLOSE v_each;
END //

-- The account of a connection without the host it comes from: one person may come from several.
DROP PROCEDURE IF EXISTS account_name //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE account_name(IN p_account VARCHAR(255), OUT p_name VARCHAR(255))
  NO SQL
BEGIN
  SET p_name = LEFT(p_account, CHAR_LENGTH(p_account) - CHAR_LENGTH(SUBSTRING_INDEX(p_account, '@', -1)) - 1);
END //

-- For promote_work, when it has read production: p_waits is why that may not be promoted, NULL if it may; p_comment:
-- who has approved it.
DROP PROCEDURE IF EXISTS promote_gate //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE promote_gate(
  IN p_group VARCHAR(64), IN p_version BIGINT, IN p_moved INT, IN p_datasets INT, IN p_who VARCHAR(128),
  OUT p_waits TEXT, OUT p_comment VARCHAR(512))
  MODIFIES SQL DATA
gate: BEGIN
  DECLARE v_digest, v_requested, v_waits_for CHAR(64);
  DECLARE v_rows BIGINT;
  DECLARE v_required INT;
  DECLARE v_requested_by, v_approved_by VARCHAR(255);
  SET p_waits = NULL, p_comment = '';
  SELECT COALESCE(MAX(approval), 0), MAX(requested), MAX(requested_by), MAX(approved_by), MAX(waits_for)
    INTO v_required, v_requested, v_requested_by, v_approved_by, v_waits_for
    FROM group_gate WHERE group_name = p_group;
  IF NOT v_required THEN
    LEAVE gate;
  END IF;
  CALL pending_digest(p_group, p_version, p_datasets, v_digest, v_rows);
  IF v_rows = 0 AND p_moved = 0 THEN
    LEAVE gate;
  END IF;
  IF v_requested = v_digest AND v_approved_by IS NOT NULL THEN
    SET p_comment = CONCAT('approved by ', v_approved_by, ', requested by ', v_requested_by);
    UPDATE group_gate SET waits_for = NULL, requested = NULL, requested_by = NULL, requested_at = NULL, approved_by = NULL,
                          approved_at = NULL
     WHERE group_name = p_group;
    LEAVE gate;
  END IF;
  SET p_waits = CONCAT('FS1106: waits for approval of digest ', v_digest, ', ', v_rows, IF(v_rows = 1, ' row', ' rows'),
    ' changed; ', CASE
      WHEN v_requested IS NULL THEN CONCAT('CALL farmsync.request_approval(''', p_group, ''')')
      WHEN v_requested = v_digest THEN CONCAT('requested by ', v_requested_by, '; another account: CALL farmsync.approve(''',
        p_group, ''', ''', v_digest, ''')')
      ELSE CONCAT('production has changed since ', COALESCE(CONCAT(v_approved_by, ' approved'),
        CONCAT(v_requested_by, ' requested approval of')), ' another; CALL farmsync.request_approval(''', p_group, ''') again')
    END);
  IF COALESCE(v_waits_for, '') <> v_digest THEN
    UPDATE group_gate SET waits_for = v_digest WHERE group_name = p_group;
    INSERT INTO history (at, group_name, action, version, who, rows_changed, detail, account)
    VALUES (UTC_TIMESTAMP(6), p_group, 'waits', p_version, p_who, v_rows, LEFT(p_waits, 1024), LEFT(USER(), 255));
  END IF;
END //

-- Not granted to the role of operators: who may switch it off needs nobody's approval.
DROP PROCEDURE IF EXISTS set_approval //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE set_approval(IN p_group VARCHAR(255), IN p_how VARCHAR(255))
  MODIFIES SQL DATA
BEGIN
  DECLARE EXIT HANDLER FOR SQLEXCEPTION
  BEGIN
    ROLLBACK;
    RESIGNAL;
  END;
  IF LOWER(COALESCE(p_how, '')) NOT IN ('on', 'off') THEN
    CALL fail(CONCAT('FS1101: approval can be ''on'' or ''off'', not ''', COALESCE(p_how, 'NULL'), ''''));
  END IF;
  START TRANSACTION;
  CALL take_group(p_group);
  INSERT INTO group_gate (group_name, approval) VALUES (p_group, LOWER(p_how) = 'on')
  ON DUPLICATE KEY UPDATE approval = VALUES(approval), waits_for = NULL, requested = NULL, requested_by = NULL,
    requested_at = NULL, approved_by = NULL, approved_at = NULL;
  UPDATE sync SET reason = '' WHERE group_name = p_group AND reason LIKE 'FS1106:%';
  CALL note(p_group, 'set_approval', NULL, LOWER(p_how));
  COMMIT;
END //

DROP PROCEDURE IF EXISTS need_approval //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE need_approval(IN p_group VARCHAR(255))
  READS SQL DATA
BEGIN
  DECLARE v_count INT;
  SELECT COUNT(*) INTO v_count FROM group_gate WHERE group_name = p_group AND approval = 1;
  IF v_count = 0 THEN
    CALL fail(CONCAT('FS1105: group ', p_group, ' needs no approval; an administrator can CALL farmsync.set_approval(''',
                     p_group, ''', ''on'')'));
  END IF;
END //

-- Asks for the confirmation of what is pending now, which passes the checks: its digest.
DROP PROCEDURE IF EXISTS request_approval //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE request_approval(IN p_group VARCHAR(255))
  MODIFIES SQL DATA
BEGIN
  DECLARE v_zone VARCHAR(64) DEFAULT @@SESSION.time_zone;
  DECLARE v_length BIGINT DEFAULT @@SESSION.group_concat_max_len;
  DECLARE v_isolation VARCHAR(32) DEFAULT /*!80000 @@SESSION.transaction_isolation */ /*M! @@SESSION.tx_isolation */;
  DECLARE v_changes, v_checks LONGTEXT;
  DECLARE v_digest CHAR(64);
  DECLARE v_rows BIGINT;
  DECLARE v_problem, v_detail TEXT;
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
  CALL need_approval(p_group);
  SAVEPOINT farmsync_try;
  CALL try_promotion(p_group, v_changes, v_checks, v_digest, v_rows, v_problem);
  ROLLBACK TO SAVEPOINT farmsync_try;
  IF v_problem IS NOT NULL THEN
    CALL fail(v_problem);
  ELSEIF v_rows IS NULL THEN
    CALL fail(CONCAT('FS1102: nothing is pending in group ', p_group, ', so there is nothing to approve'));
  END IF;
  UPDATE group_gate SET requested = v_digest, requested_by = LEFT(USER(), 255), requested_at = UTC_TIMESTAMP(6),
                        approved_by = NULL, approved_at = NULL
   WHERE group_name = p_group;
  UPDATE sync SET reason = LEFT(CONCAT('FS1106: waits for approval of digest ', v_digest, ', ', v_rows,
                                       IF(v_rows = 1, ' row', ' rows'), ' changed; requested by ', USER(), '; another account: CALL farmsync.approve(''', p_group, ''', ''', v_digest, ''')'), 512)
   WHERE group_name = p_group AND (reason = '' OR reason LIKE 'FS1106:%');
  SELECT GROUP_CONCAT(j.d, ' ', j.n + j.c + j.g SEPARATOR ', ') INTO v_detail
    FROM JSON_TABLE(v_changes, '$[*]' COLUMNS (d VARCHAR(64) PATH '$.d', n BIGINT PATH '$.n', c BIGINT PATH '$.c',
                    g BIGINT PATH '$.g')) AS j
   WHERE j.n + j.c + j.g > 0;
  CALL note(p_group, 'request_approval', NULL, CONCAT(v_digest, COALESCE(CONCAT(': ', v_detail), '')));
  COMMIT;
  CALL session_back(v_isolation, v_zone, v_length);
  SELECT v_digest AS digest, v_rows AS rows_changed, COALESCE(v_detail, '') AS detail;
END //

DROP PROCEDURE IF EXISTS approve //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE approve(IN p_group VARCHAR(255), IN p_digest VARCHAR(255))
  MODIFIES SQL DATA
BEGIN
  DECLARE v_requested CHAR(64);
  DECLARE v_by, v_me, v_requester VARCHAR(255);
  DECLARE EXIT HANDLER FOR SQLEXCEPTION
  BEGIN
    ROLLBACK;
    RESIGNAL;
  END;
  START TRANSACTION;
  CALL take_group(p_group);
  CALL need_approval(p_group);
  SELECT requested, requested_by INTO v_requested, v_by FROM group_gate WHERE group_name = p_group;
  IF v_requested IS NULL THEN
    CALL fail(CONCAT('FS1103: nobody has requested approval for group ', p_group, '; CALL farmsync.request_approval(''', p_group,
                     ''') first'));
  ELSEIF COALESCE(LOWER(p_digest), '') <> v_requested THEN
    CALL fail(CONCAT('FS1103: ', v_by, ' has requested approval of digest ', v_requested, ', not of ''',
                     LEFT(COALESCE(p_digest, 'NULL'), 64), '''; look at what is pending again'));
  END IF;
  CALL account_name(USER(), v_me);
  CALL account_name(v_by, v_requester);
  IF v_me = v_requester THEN
    CALL fail(CONCAT('FS1104: ', v_by, ' has requested this approval, so another account has to give it'));
  END IF;
  UPDATE group_gate SET approved_by = LEFT(USER(), 255), approved_at = UTC_TIMESTAMP(6) WHERE group_name = p_group;
  UPDATE sync SET reason = '' WHERE group_name = p_group AND reason LIKE 'FS1106:%';
  CALL note(p_group, 'approve', NULL, CONCAT(v_requested, ' requested by ', v_by));
  COMMIT;
END //

-- Takes the request, and an approval that was given, back.
DROP PROCEDURE IF EXISTS reject //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE reject(IN p_group VARCHAR(255))
  MODIFIES SQL DATA
BEGIN
  DECLARE v_requested CHAR(64);
  DECLARE v_by VARCHAR(255);
  DECLARE EXIT HANDLER FOR SQLEXCEPTION
  BEGIN
    ROLLBACK;
    RESIGNAL;
  END;
  START TRANSACTION;
  CALL take_group(p_group);
  CALL need_approval(p_group);
  SELECT requested, requested_by INTO v_requested, v_by FROM group_gate WHERE group_name = p_group;
  IF v_requested IS NULL THEN
    CALL fail(CONCAT('FS1103: nobody has requested approval for group ', p_group, ', so there is nothing to reject'));
  END IF;
  UPDATE group_gate SET requested = NULL, requested_by = NULL, requested_at = NULL, approved_by = NULL, approved_at = NULL
   WHERE group_name = p_group;
  UPDATE sync SET reason = LEFT(CONCAT('FS1106: ', USER(), ' rejected digest ', v_requested, '; the next cycle says what is pending'), 512)
   WHERE group_name = p_group AND (reason = '' OR reason LIKE 'FS1106:%');
  CALL note(p_group, 'reject', NULL, CONCAT(v_requested, ' requested by ', v_by));
  COMMIT;
END //

DELIMITER ;
