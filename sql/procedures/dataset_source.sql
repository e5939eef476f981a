-- SPDX-License-Identifier: Apache-2.0
-- Parts of add_dataset: the source, its columns and its key are looked at; each refusal says what to do.
-- Loaded by ../procedures.sql, which sets the mode that procedures keep.
DELIMITER //

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
  DECLARE v_place, v_twice INT DEFAULT 0;
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
    SELECT COUNT(*) INTO v_twice FROM dataset_column
     WHERE dataset = p_name AND key_place > 0 AND LOWER(name) = LOWER(v_key);
    IF v_twice > 0 THEN
      CALL fail(CONCAT('FS1021: the key of ', p_name, ' names column ', v_key, ' twice'));
    END IF;
    UPDATE dataset_column SET key_place = v_place WHERE dataset = p_name AND LOWER(name) = LOWER(v_key);
    IF ROW_COUNT() = 0 THEN
      SELECT GROUP_CONCAT(name ORDER BY place SEPARATOR ', ') INTO v_rest FROM dataset_column
       WHERE dataset = p_name;
      CALL fail(CONCAT('FS1020: ', p_source, ' gives no column ''', v_key, ''' for the key; name some of: ',
                       v_rest));
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
    CALL fail(CONCAT('FS1020: ', p_schema, '.', p_table, ' has no column ''', v_wanted, '''; correct the option ',
                     '"columns"'));
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
    IF LOWER(v_column) IN ('fs_from', 'fs_to', 'fs_change', 'fs_note') THEN
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
  SELECT MIN(o.n) INTO v_wanted
    FROM JSON_TABLE(COALESCE(p_options, '{}'), '$.json[*]' COLUMNS (n VARCHAR(64) PATH '$')) AS o
   WHERE NOT EXISTS (SELECT 1 FROM dataset_column k WHERE k.dataset = p_name AND k.kind = 'json'
                        AND LOWER(k.name) = LOWER(o.n));
  IF v_wanted IS NOT NULL THEN
    SELECT GROUP_CONCAT(name ORDER BY place SEPARATOR ', ') INTO v_type FROM dataset_column
     WHERE dataset = p_name AND kind IN ('text', 'json');
    CALL fail(CONCAT('FS1020: there is no text column ''', v_wanted, ''' that can hold JSON; name in the option ',
                     '"json" some of: ', COALESCE(v_type, 'none')));
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
  DECLARE v_scheduled INT;
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
    SELECT COUNT(*) INTO v_scheduled FROM dataset WHERE name = p_name AND schedule_types IS NOT NULL;
    IF v_scheduled = 0 THEN
      CALL run_sql(CONCAT('SELECT CONCAT_WS(''/'', ', v_list, ') INTO @farmsync_text FROM ', p_source,
                          ' AS p GROUP BY ', v_list, ' HAVING COUNT(*) > 1 LIMIT 1'));
    END IF;
  END;
  IF @farmsync_count > 0 THEN
    CALL fail(CONCAT('FS1023: a row of ', p_source, ' has NULL in ', v_list,
                     '; fill it in, or name another key'));
  END IF;
  IF @farmsync_text IS NOT NULL THEN
    CALL fail(CONCAT('FS1024: ', v_list, ' isn''t unique in ', p_source, ': ''', LEFT(@farmsync_text, 64),
                     ''' occurs more than once; name all key columns'));
  END IF;
  IF v_scheduled > 0 THEN
    CALL check_schedule_key(p_name, p_source);
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
  UPDATE dataset SET source = v_source WHERE name = p_name;
  CALL take_schedule(p_name, v_schema, v_table, p_options);
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
  CALL take_changes(p_name, v_schema, v_table, p_options);
END //

DELIMITER ;
