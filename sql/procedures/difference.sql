-- SPDX-License-Identifier: Apache-2.0
-- What differs between two versions, or between the newest version and production, key by key and column by column.
-- Loaded by ../procedures.sql, which sets the mode that procedures keep.
DELIMITER //

-- SELECTs of the differences of one dataset, and of their numbers: `d` is the row before, `p` the row after. p_to NULL:
-- production, through the view pending_<dataset>.
DROP PROCEDURE IF EXISTS difference_sql //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE difference_sql(
  IN p_name VARCHAR(64), IN p_from BIGINT, IN p_to BIGINT, IN p_limit BIGINT, OUT p_rows LONGTEXT, OUT p_counts LONGTEXT)
  READS SQL DATA
BEGIN
  DECLARE v_key_d, v_key_p, v_on, v_same, v_row_d, v_row_p, v_changes, v_d_is_null, v_p_is_null, v_begun, v_ended LONGTEXT;
  DECLARE v_order_d, v_order_p, v_in_d, v_in_p, v_d, v_p LONGTEXT;
  -- With CONCAT a text that is JSON stays text.
  CALL key_as_json(p_name, 'd', v_key_d, v_order_d);
  CALL key_as_json(p_name, 'p', v_key_p, v_order_p);
  SELECT GROUP_CONCAT(IF(x.key_place > 0, CONCAT('d.', x.quoted, ' = p.', x.quoted), NULL) SEPARATOR ' AND '),
         GROUP_CONCAT(x.same_sql ORDER BY x.key_place > 0, x.place SEPARATOR ' AND '),
         COALESCE(CONCAT('JSON_OBJECT(', GROUP_CONCAT(IF(x.key_place > 0, NULL, CONCAT(x.label, ', ', x.text_d)) ORDER BY x.place
           SEPARATOR ', '), ')'), '''{}'''),
         COALESCE(CONCAT('JSON_OBJECT(', GROUP_CONCAT(IF(x.key_place > 0, NULL, CONCAT(x.label, ', ', x.text_p)) ORDER BY x.place
           SEPARATOR ', '), ')'), '''{}'''),
         GROUP_CONCAT('IF(', x.same_sql, ', NULL, JSON_OBJECT(''c'', ', x.label, ', ''o'', ', x.text_d, ', ''n'', ', x.text_p, '))'
                      ORDER BY x.place SEPARATOR ', '),
         MIN(IF(x.key_place > 0, CONCAT('d.', x.quoted, ' IS NULL'), NULL)),
         MIN(IF(x.key_place > 0, CONCAT('p.', x.quoted, ' IS NULL'), NULL))
    INTO v_on, v_same, v_row_d, v_row_p, v_changes, v_d_is_null, v_p_is_null
    FROM (SELECT c.place, c.key_place, c.quoted, c.same_sql, QUOTE(c.name) AS label,
                 CASE WHEN k.kind = 'binary' THEN CONCAT('HEX(d.', c.quoted, ')') WHEN k.read_as = 'text'
                   THEN CONCAT('CONCAT('''', CONVERT(d.', c.quoted, ' USING utf8mb4))') ELSE CONCAT('CAST(d.', c.quoted, ' AS CHAR)') END AS text_d,
                 CASE WHEN k.kind = 'binary' THEN CONCAT('HEX(p.', c.quoted, ')') WHEN k.read_as = 'text'
                   THEN CONCAT('CONCAT('''', CONVERT(p.', c.quoted, ' USING utf8mb4))') ELSE CONCAT('CAST(p.', c.quoted, ' AS CHAR)') END AS text_p
            FROM column_sql c JOIN dataset_column k ON k.dataset = c.dataset AND k.place = c.place
           WHERE c.dataset = p_name) AS x;
  SET v_d = CONCAT('farmsync.`data_', p_name, '` AS d');
  SET v_in_d = CONCAT('d.fs_from <= ', p_from, ' AND d.fs_to > ', p_from);
  IF p_to IS NULL THEN
    SET v_p = CONCAT('farmsync.`pending_', p_name, '` AS p'), v_in_p = 'p.fs_change IN (''new'', ''changed'')';
    SET v_in_d = 'd.fs_to = 9223372036854775807', v_begun = '';
    SET p_counts = CONCAT('SELECT ', QUOTE(p_name), ' AS dataset, CAST(COALESCE(SUM(p.fs_change = ''new''), 0) AS SIGNED) AS added, ',
      'CAST(COALESCE(SUM(p.fs_change = ''gone''), 0) AS SIGNED) AS removed, ',
      'CAST(COALESCE(SUM(p.fs_change = ''changed''), 0) AS SIGNED) AS changed FROM ', v_p);
    SET v_ended = CONCAT('SELECT ', v_key_p, ' AS k, ', v_row_p, ' AS r FROM ', v_p, ' WHERE p.fs_change = ''gone'' ORDER BY ',
                         v_order_p, ' LIMIT ', p_limit);
  ELSE
    SET v_p = CONCAT('farmsync.`data_', p_name, '` AS p'), v_in_p = CONCAT('p.fs_from <= ', p_to, ' AND p.fs_to > ', p_to);
    -- Rows that both versions have needn't be looked at: each side by the index of fs_from or fs_to.
    SET v_begun = IF(p_to > p_from, CONCAT(' AND p.fs_from > ', p_from), CONCAT(' AND p.fs_to <= ', p_from));
    SET v_ended = CONCAT(v_d, ' LEFT JOIN ', v_p, ' ON ', v_on, ' AND ', v_in_p, ' WHERE ', v_in_d, ' AND ',
                         IF(p_to > p_from, CONCAT('d.fs_to <= ', p_to), CONCAT('d.fs_from > ', p_to)), ' AND ', v_p_is_null);
    SET p_counts = CONCAT('SELECT ', QUOTE(p_name), ' AS dataset, CAST(COALESCE(SUM(x.op = ''n''), 0) AS SIGNED) AS added, ',
      'CAST(COALESCE(SUM(x.op = ''g''), 0) AS SIGNED) AS removed, CAST(COALESCE(SUM(x.op = ''c''), 0) AS SIGNED) AS changed FROM (',
      'SELECT IF(', v_d_is_null, ', ''n'', ''c'') AS op FROM ', v_p, ' LEFT JOIN ', v_d, ' ON ', v_on, ' AND ', v_in_d, ' WHERE ',
      v_in_p, v_begun, ' AND (', v_d_is_null, ' OR NOT (', v_same, ')) UNION ALL SELECT ''g'' FROM ', v_ended, ') AS x');
    SET v_ended = CONCAT('SELECT ', v_key_d, ' AS k, ', v_row_d, ' AS r FROM ', v_ended, ' ORDER BY ', v_order_d,
                         ' LIMIT ', p_limit);
  END IF;
  SET v_in_p = CONCAT(v_p, ' LEFT JOIN ', v_d, ' ON ', v_on, ' AND ', v_in_d, ' WHERE ', v_in_p, v_begun);
  SET p_rows = CONCAT(
    'SELECT ', QUOTE(p_name), ' AS dataset, a.k AS `key`, ''added'' AS op, CAST(NULL AS CHAR(64)) AS column_name, ',
    'CAST(NULL AS CHAR) AS old_value, a.r AS new_value FROM (SELECT ', v_key_p, ' AS k, ', v_row_p, ' AS r FROM ',
    v_in_p, ' AND ', v_d_is_null, ' ORDER BY ', v_order_p, ' LIMIT ', p_limit, ') AS a UNION ALL ',
    'SELECT ', QUOTE(p_name), ', g.k, ''removed'', NULL, g.r, NULL FROM (', v_ended, ') AS g UNION ALL ',
    'SELECT ', QUOTE(p_name), ', c.k, ''changed'', j.c, j.o, j.n FROM (SELECT ', v_key_p, ' AS k, CONCAT(''['', CONCAT_WS('','', ',
    v_changes, '), '']'') AS r FROM ', v_in_p, ' AND NOT (', v_d_is_null, ') AND NOT (', v_same, ') ORDER BY ', v_order_p, ' LIMIT ',
    p_limit, ') AS c JOIN JSON_TABLE(c.r, ''$[*]'' COLUMNS (c VARCHAR(64) PATH ''$.c'', o LONGTEXT PATH ''$.o'', n LONGTEXT ',
    'PATH ''$.n'')) AS j');
END //

-- A version that is kept, or 0 for nothing.
DROP PROCEDURE IF EXISTS need_version //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE need_version(IN p_group VARCHAR(64), IN p_version BIGINT)
  READS SQL DATA
BEGIN
  DECLARE v_count INT;
  SELECT COUNT(*) INTO v_count FROM image WHERE group_name = p_group AND version = p_version;
  IF v_count = 0 AND p_version <> 0 THEN
    CALL fail(CONCAT('FS1100: version ', p_version, ' of group ', p_group, ' isn''t kept; see SELECT * FROM farmsync.versions'));
  END IF;
END //

-- What changed from one version to another: show_difference('default', 41, 42). The first version NULL: the newest; the
-- second NULL: production, so that with two NULLs it is what the next promotion would change. Two tables: the
-- differences, at most @farmsync_limit (1000) keys of each kind and dataset; and how many there are.
DROP PROCEDURE IF EXISTS show_difference //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE show_difference(
  IN p_group VARCHAR(255), IN p_from BIGINT, IN p_to BIGINT)
  MODIFIES SQL DATA
BEGIN
  DECLARE v_done INT DEFAULT 0;
  DECLARE v_name VARCHAR(64);
  DECLARE v_newest, v_from BIGINT;
  DECLARE v_limit BIGINT;
  DECLARE v_text LONGTEXT;
  DECLARE v_rows, v_counts, v_all_rows, v_all_counts LONGTEXT DEFAULT '';
  DECLARE v_zone VARCHAR(64) DEFAULT @@SESSION.time_zone;
  DECLARE v_length BIGINT DEFAULT @@SESSION.group_concat_max_len;
  DECLARE v_each CURSOR FOR
    SELECT name FROM dataset WHERE group_name = p_group AND dropped = 0 ORDER BY name;
  DECLARE CONTINUE HANDLER FOR NOT FOUND SET v_done = 1;
  DECLARE EXIT HANDLER FOR SQLEXCEPTION
  BEGIN
    SET SESSION time_zone = v_zone;
    SET SESSION group_concat_max_len = v_length;
    RESIGNAL;
  END;
  CALL need_group(p_group);
  SET v_text = COALESCE(CAST(@farmsync_limit AS CHAR), '1000'), @farmsync_limit = NULL;
  IF v_text NOT REGEXP '^[0-9]{1,7}$' OR v_text < 1 THEN
    CALL fail('FS1108: @farmsync_limit is the number of keys to show: 1 to 9999999');
  END IF;
  SET v_limit = v_text;
  SELECT version INTO v_newest FROM sync WHERE group_name = p_group;
  SET v_from = COALESCE(p_from, v_newest);
  CALL need_version(p_group, v_from);
  IF p_to IS NOT NULL THEN
    CALL need_version(p_group, p_to);
  ELSEIF v_from <> v_newest THEN
    CALL fail(CONCAT('FS1100: production is compared with the newest version of group ', p_group, ', which is ', v_newest,
                     '; give NULL for the first version'));
  END IF;
  SET SESSION time_zone = '+00:00';
  SET SESSION group_concat_max_len = 16777216;
  SET v_done = 0;
  OPEN v_each;
  each_dataset: LOOP
    FETCH v_each INTO v_name;
    IF v_done THEN
      LEAVE each_dataset;
    END IF;
    CALL difference_sql(v_name, v_from, p_to, v_limit, v_rows, v_counts);
    SET v_all_rows = CONCAT(v_all_rows, IF(v_all_rows = '', '', ' UNION ALL '), v_rows);
    SET v_all_counts = CONCAT(v_all_counts, IF(v_all_counts = '', '', ' UNION ALL '), v_counts);
  END LOOP;
  CLOSE v_each;
  IF v_all_rows = '' THEN
    CALL fail(CONCAT('FS1109: group ', p_group, ' has no dataset'));
  END IF;
  BEGIN
    -- The view of a source that is gone or may not be read doesn't say which it is.
    DECLARE EXIT HANDLER FOR 1054, 1142, 1143, 1146, 1356
    BEGIN
      GET DIAGNOSTICS CONDITION 1 v_text = MESSAGE_TEXT;
      IF p_to IS NOT NULL THEN
        RESIGNAL;
      END IF;
      CALL fail(CONCAT('FS1033: the production data can''t be read: ', v_text, '; CALL farmsync.dry_run(''', p_group,
                       ''') says why'));
    END;
    CALL run_sql(v_all_rows);
    CALL run_sql(v_all_counts);
  END;
  SET SESSION time_zone = v_zone;
  SET SESSION group_concat_max_len = v_length;
END //

DELIMITER ;
