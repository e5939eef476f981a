-- SPDX-License-Identifier: Apache-2.0
-- Checks of what is about to be staged. A check that finds something wrong stops the promotion whole:
--   limits      how much a version may differ from the one before; each dataset has some without being asked, so
--               that a TRUNCATE by mistake doesn't empty the farm; allow_once lets one version pass them;
--   rules       expressions that hold for rows that are wrong: add_check('prices', 'positive', 'price <= 0');
--   references  rows that name a row of another dataset of the group, which must be there.
-- Rules and references look at the rows that the version brings. Rows that stay were looked at when they came, so
-- dataset_check.passed has the newest version that passed: if that isn't the one before, all rows are looked at.
--
-- A rule is evaluated with the rights of farmsync, which may write what the farm serves. So it is not taken
-- as text: parse_rule takes it apart, lets through columns of the dataset, literals, operators and functions that
-- do nothing but compute, and puts it together anew. It knows no way to write a query, a variable or a comment.
-- Loaded by ../procedures.sql, which sets the mode that procedures keep.
DELIMITER //

DROP PROCEDURE IF EXISTS need_dataset //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE need_dataset(IN p_name VARCHAR(255), OUT p_group VARCHAR(64))
  READS SQL DATA
BEGIN
  SELECT MAX(group_name) INTO p_group FROM dataset WHERE name = p_name AND dropped = 0;
  IF p_group IS NULL THEN
    CALL fail(CONCAT('FS1029: there is no dataset ''', COALESCE(p_name, 'NULL'),
                     '''; see SELECT name FROM farmsync.dataset'));
  END IF;
END //

-- Makes of a rule SQL over the columns of the row `d`. p_always: what it says may change though the row doesn't.
DROP PROCEDURE IF EXISTS parse_rule //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE parse_rule(
  IN p_name VARCHAR(64), IN p_rule TEXT, OUT p_sql LONGTEXT, OUT p_always TINYINT)
  READS SQL DATA
BEGIN
  DECLARE v_words TEXT DEFAULT CONCAT('and,or,xor,not,is,null,true,false,unknown,like,escape,regexp,rlike,in,between,div,mod,',
    'case,when,then,else,end,binary,interval,microsecond,second,minute,hour,day,week,month,quarter,year,as,char,signed,',
    'unsigned,integer,decimal,double,date,datetime,time,using,collate,utf8mb4,utf8mb4_bin,utf8mb4_general_ci,',
    'utf8mb4_unicode_ci,current_date,current_timestamp,utc_date,utc_time,utc_timestamp');
  DECLARE v_before TEXT DEFAULT ',and,or,xor,not,like,regexp,rlike,in,between,div,mod,case,when,then,else,binary,interval,';
  DECLARE v_functions TEXT DEFAULT CONCAT('abs,ceil,ceiling,floor,round,truncate,sign,mod,pow,power,sqrt,exp,ln,log,log2,log10,',
    'greatest,least,if,ifnull,nullif,coalesce,isnull,interval,concat,concat_ws,char_length,character_length,length,octet_length,',
    'bit_length,lower,lcase,upper,ucase,trim,ltrim,rtrim,left,right,substring,substr,mid,substring_index,locate,instr,position,',
    'replace,reverse,lpad,rpad,find_in_set,field,elt,ascii,ord,char,hex,unhex,md5,sha1,sha2,crc32,strcmp,regexp_instr,',
    'regexp_substr,regexp_replace,regexp_like,cast,convert,signed,unsigned,decimal,binary,date,time,datetime,year,quarter,',
    'month,week,day,dayofmonth,dayofweek,dayofyear,weekday,hour,minute,second,microsecond,datediff,timediff,timestampdiff,',
    'timestampadd,date_add,date_sub,adddate,subdate,last_day,str_to_date,date_format,to_days,from_days,makedate,maketime,',
    'time_to_sec,sec_to_time,unix_timestamp,from_unixtime,now,curdate,current_date,current_timestamp,utc_date,utc_time,',
    'utc_timestamp,bit_count,inet_aton,inet6_aton,is_ipv4,is_ipv6,json_valid,json_type,json_length,json_depth,json_keys,',
    'json_extract,json_unquote,json_quote,json_value,json_contains,json_contains_path,json_search,json_exists');
  DECLARE v_clock TEXT DEFAULT 'unix_timestamp,now,curdate,current_date,current_timestamp,utc_date,utc_time,utc_timestamp';
  DECLARE v_rest TEXT DEFAULT TRIM(REGEXP_REPLACE(COALESCE(p_rule, ''), '[[:space:]]+$', ''));
  DECLARE v_token, v_column, v_word TEXT;
  DECLARE v_depth INT DEFAULT 0;
  DECLARE v_called TINYINT;
  IF v_rest = '' OR CHAR_LENGTH(v_rest) > 2000 THEN
    CALL fail('FS1095: a rule is an expression of 1 to 2000 characters that holds for wrong rows, like price <= 0');
  END IF;
  SET p_sql = '', p_always = 0;
  WHILE CHAR_LENGTH(v_rest) > 0 DO
    SET v_token = REGEXP_SUBSTR(v_rest, CONCAT('^([[:space:]]+|''([^''\\\\]|''''|\\\\[\\s\\S])*''|"([^"\\\\]|""|\\\\[\\s\\S])*"',
      '|`([^`]|``)+`|([0-9]+([.][0-9]*)?|[.][0-9]+)([eE][-+]?[0-9]+)?|[A-Za-z_$\\x80-\\x{10FFFF}][A-Za-z0-9_$\\x80-\\x{10FFFF}]*',
      '|<=>|<=|>=|<>|!=|&&|[|][|]|<<|>>|[-+*/%<>=!&|^~(),])'));
    IF COALESCE(CHAR_LENGTH(v_token), 0) = 0 THEN
      CALL fail(CONCAT('FS1095: a rule can''t contain what begins with ', QUOTE(LEFT(v_rest, 20)),
                       '; write an expression over the columns of ', p_name));
    END IF;
    SET v_rest = SUBSTRING(v_rest, CHAR_LENGTH(v_token) + 1);
    SET v_called = COALESCE(v_rest REGEXP '^[[:space:]]*[(]', 0);
    IF v_token REGEXP '^[[:space:]]' THEN
      SET v_token = '';
    ELSEIF v_token = '(' THEN
      SET v_depth = v_depth + 1;
    ELSEIF v_token = ')' THEN
      SET v_depth = v_depth - 1;
    ELSEIF v_token REGEXP '^[A-Za-z_$`\\x80-\\x{10FFFF}]' THEN
      SET v_word = LOWER(v_token), v_column = NULL;
      SELECT MAX(CONCAT('d.`', REPLACE(name, '`', '``'), '`')) INTO v_column FROM dataset_column
       WHERE dataset = p_name
         AND LOWER(name) = LOWER(IF(v_token LIKE '`%', REPLACE(SUBSTRING(v_token, 2, CHAR_LENGTH(v_token) - 2), '``', '`'),
                                    v_token));
      IF v_called THEN
        IF FIND_IN_SET(v_word, v_functions) = 0 AND LOCATE(CONCAT(',', v_word, ','), v_before) = 0 THEN
          CALL fail(CONCAT('FS1095: ', v_token, '(...) can''t be used in a rule; doc/sql.md lists the functions that can'));
        END IF;
      ELSEIF v_column IS NOT NULL THEN
        SET v_token = v_column;
      ELSEIF FIND_IN_SET(v_word, v_words) = 0 THEN
        CALL fail(CONCAT('FS1095: dataset ', p_name, ' has no column ', v_token,
                         '; a rule is an expression over its columns alone, without queries or variables'));
      END IF;
      SET p_always = p_always OR (v_column IS NULL OR v_called) AND FIND_IN_SET(v_word, v_clock) > 0;
      -- Between a function and its bracket there may be no space; between an operator and a bracket there may be none.
      IF v_called THEN
        SET v_rest = REGEXP_REPLACE(v_rest, '^[[:space:]]+', '');
      END IF;
    END IF;
    IF v_depth < 0 THEN
      CALL fail('FS1095: the rule closes a bracket that it hasn''t opened');
    END IF;
    SET p_sql = CONCAT(p_sql, IF(v_token = '' OR v_token = '(' OR p_sql = '', '', ' '), v_token);
  END WHILE;
  IF v_depth > 0 THEN
    CALL fail('FS1095: the rule opens a bracket that it doesn''t close');
  END IF;
END //

-- The key of a row as a JSON array, as SQL: of the row `d` of a version table, or of the row `t` of `difference`.
DROP PROCEDURE IF EXISTS key_as_json //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE key_as_json(
  IN p_name VARCHAR(64), IN p_alias CHAR(1), OUT p_json LONGTEXT, OUT p_order LONGTEXT)
  READS SQL DATA
BEGIN
  SELECT CONCAT('JSON_ARRAY(', GROUP_CONCAT(CASE WHEN k.kind IN ('integer', 'decimal') THEN k.x WHEN k.kind = 'binary' THEN
           CONCAT('HEX(', k.x, ')') WHEN k.read_as = 'text' THEN CONCAT('CONVERT(', k.x, ' USING utf8mb4)') ELSE
           CONCAT('CAST(', k.x, ' AS CHAR)') END ORDER BY k.key_place SEPARATOR ', '), ')'),
         GROUP_CONCAT(k.x ORDER BY k.key_place SEPARATOR ', ')
    INTO p_json, p_order
    FROM (SELECT kind, read_as, key_place,
                 IF(p_alias = 't', CONCAT('t.', slot), CONCAT(p_alias, '.`', REPLACE(name, '`', '``'), '`')) AS x
            FROM dataset_column WHERE dataset = p_name AND key_place > 0) AS k;
END //

-- How many rows there are, and the keys of the first five.
DROP PROCEDURE IF EXISTS count_wrong //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE count_wrong(
  IN p_name VARCHAR(64), IN p_alias CHAR(1), IN p_from LONGTEXT, OUT p_count BIGINT, OUT p_keys TEXT)
  MODIFIES SQL DATA
BEGIN
  DECLARE v_json, v_order LONGTEXT;
  SET @farmsync_count = 0, @farmsync_text = NULL;
  CALL run_sql(CONCAT('SELECT COUNT(*) INTO @farmsync_count FROM ', p_from));
  SET p_count = @farmsync_count;
  IF p_count > 0 THEN
    CALL key_as_json(p_name, p_alias, v_json, v_order);
    CALL run_sql(CONCAT('SELECT GROUP_CONCAT(LEFT(x.k, 80) SEPARATOR '', '') INTO @farmsync_text FROM (SELECT ', v_json,
                        ' AS k FROM ', p_from, ' ORDER BY ', v_order, ' LIMIT 5) AS x'));
    SET p_keys = CONCAT(@farmsync_text, IF(p_count > 5, ', ...', ''));
  END IF;
END //

-- The rows of a dataset, as FROM ... WHERE, that a rule or a reference finds wrong. p_version: the version that is
-- being staged; of it only the rows it brings if those before have passed.
DROP PROCEDURE IF EXISTS check_rows //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE check_rows(
  IN p_name VARCHAR(64), IN p_check VARCHAR(64), IN p_version BIGINT, OUT p_from LONGTEXT)
  MODIFIES SQL DATA
BEGIN
  DECLARE v_kind VARCHAR(16);
  DECLARE v_condition, v_on, v_set, v_other_first LONGTEXT;
  DECLARE v_other VARCHAR(64);
  DECLARE v_passed BIGINT;
  DECLARE v_columns JSON;
  SELECT kind, condition_sql, columns_json, other, IF(every_row, NULL, passed)
    INTO v_kind, v_condition, v_columns, v_other, v_passed FROM dataset_check WHERE dataset = p_name AND name = p_check;
  IF v_kind = 'reference' THEN
    IF v_passed IS NOT NULL THEN
      SET @farmsync_count = 0;
      CALL run_sql(CONCAT('SELECT COUNT(*) INTO @farmsync_count FROM (SELECT 1 FROM farmsync.`data_', v_other,
                          '` WHERE fs_to = ', p_version, ' LIMIT 1) AS x'));
      SET v_passed = IF(@farmsync_count > 0, NULL, v_passed);
    END IF;
    SELECT GROUP_CONCAT(IF(i.collation_name IS NULL, CONCAT('o.', i.o, ' = d.', i.d),
             CONCAT('o.', i.o, ' = CONVERT(d.', i.d, ' USING ', i.character_set_name, ') COLLATE ', i.collation_name,
                    ' AND CAST(CONVERT(o.', i.o, ' USING utf8mb4) AS BINARY) = CAST(CONVERT(d.', i.d,
                    ' USING utf8mb4) AS BINARY)')) SEPARATOR ' AND '),
           GROUP_CONCAT('d.', i.d, ' IS NOT NULL' SEPARATOR ' AND '), MIN(CONCAT('o.', i.o, ' IS NULL'))
      INTO v_on, v_set, v_other_first
      FROM (SELECT CONCAT('`', REPLACE(j.name, '`', '``'), '`') AS d, CONCAT('`', REPLACE(k.name, '`', '``'), '`') AS o,
                   c.character_set_name, c.collation_name
              FROM JSON_TABLE(v_columns, '$[*]' COLUMNS (n FOR ORDINALITY, name VARCHAR(64) PATH '$')) AS j
              JOIN dataset_column k ON k.dataset = v_other AND k.key_place = j.n
              JOIN information_schema.columns c ON c.table_schema = 'farmsync' AND c.table_name = CONCAT('data_', v_other)
               AND c.column_name = k.name) AS i;
    SET p_from = CONCAT('farmsync.`data_', p_name, '` AS d LEFT JOIN farmsync.`data_', v_other,
                        '` AS o ON o.fs_to = 9223372036854775807 AND ', v_on);
    SET v_condition = CONCAT(v_set, ' AND ', v_other_first);
  ELSE
    SET p_from = CONCAT('farmsync.`data_', p_name, '` AS d');
  END IF;
  SET p_from = CONCAT(p_from, ' WHERE d.fs_to = 9223372036854775807',
                      IF(v_passed = p_version - 1, CONCAT(' AND d.fs_from = ', p_version), ''), ' AND (', v_condition, ')');
END //

-- A rule or reference of the dataset: p_result is ok or failed.
DROP PROCEDURE IF EXISTS evaluate_check //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE evaluate_check(
  IN p_name VARCHAR(64), IN p_check VARCHAR(64), IN p_version BIGINT,
  OUT p_result VARCHAR(8), OUT p_count BIGINT, OUT p_said TEXT)
  MODIFIES SQL DATA
BEGIN
  DECLARE v_kind VARCHAR(16);
  DECLARE v_expression, v_keys, v_text TEXT;
  DECLARE v_from LONGTEXT;
  DECLARE v_errno INT;
  DECLARE EXIT HANDLER FOR SQLEXCEPTION
  BEGIN
    GET DIAGNOSTICS CONDITION 1 v_errno = MYSQL_ERRNO, v_text = MESSAGE_TEXT;
    IF v_errno IN (1020, 1047, 1205, 1213, 1317, 1644, 1927, 3101, 4094) THEN
      RESIGNAL;
    END IF;
    SET p_result = 'failed', p_count = NULL;
    SET p_said = CONCAT('FS1096: dataset ', p_name, ': ', v_kind, ' ', p_check, ' can''t be evaluated: ',
                        COALESCE(v_text, 'the session keeps no errors (max_error_count)'),
                        '; CALL farmsync.drop_check(''', p_name, ''', ''', p_check, ''') and add it anew');
  END;
  SELECT kind, expression INTO v_kind, v_expression FROM dataset_check WHERE dataset = p_name AND name = p_check;
  CALL check_rows(p_name, p_check, p_version, v_from);
  CALL count_wrong(p_name, 'd', v_from, p_count, v_keys);
  SET p_result = IF(p_count > 0, 'failed', 'ok'), p_said = v_expression;
  IF p_count > 0 THEN
    SET p_said = CONCAT(IF(v_kind = 'rule', 'FS1090: dataset ', 'FS1094: dataset '), p_name, ': ', p_count,
      IF(p_count = 1, ' row breaks the ', ' rows break the '), v_kind, ' ', p_check, ' (', LEFT(v_expression, 120), '): ',
      LEFT(v_keys, 200), '; correct production, or CALL farmsync.drop_check(''', p_name, ''', ''', p_check, ''')');
  END IF;
END //

-- The limits of a dataset, those of its own and the defaults.
DROP PROCEDURE IF EXISTS limits_of //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE limits_of(
  IN p_name VARCHAR(64), OUT p_min_rows BIGINT, OUT p_gone DECIMAL(6,2), OUT p_changed DECIMAL(6,2), OUT p_small BIGINT)
  READS SQL DATA
BEGIN
  SELECT MAX(min_rows), COALESCE(MAX(max_gone), 50), MAX(max_changed), COALESCE(MAX(small), 20)
    INTO p_min_rows, p_gone, p_changed, p_small FROM dataset_limits WHERE dataset = p_name;
END //

-- What the version would be measured by, as JSON objects: dataset, check, result, count and what is said. For
-- whoever has `difference` filled and applied.
DROP PROCEDURE IF EXISTS evaluate_limits //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE evaluate_limits(
  IN p_group VARCHAR(64), IN p_name VARCHAR(64), IN p_ds INT, IN p_version BIGINT, IN p_allowed TINYINT,
  INOUT p_results LONGTEXT)
  MODIFIES SQL DATA
BEGIN
  DECLARE v_min, v_small, v_before, v_after, v_new, v_changed, v_gone, v_count BIGINT;
  DECLARE v_max_gone, v_max_changed DECIMAL(6,2);
  DECLARE v_op CHAR(1);
  DECLARE v_failed, v_n INT DEFAULT 0;
  DECLARE v_check VARCHAR(16);
  DECLARE v_said, v_keys TEXT;
  CALL limits_of(p_name, v_min, v_max_gone, v_max_changed, v_small);
  SET @farmsync_new = 0, @farmsync_changed = 0, @farmsync_gone = 0;
  CALL run_sql(CONCAT('SELECT COALESCE(SUM(op = ''n''), 0), COALESCE(SUM(op = ''c''), 0), COALESCE(SUM(op = ''g''), 0) ',
    'INTO @farmsync_new, @farmsync_changed, @farmsync_gone FROM farmsync.difference WHERE ds = ', p_ds,
    ' AND op IN (''n'', ''c'', ''g'')'));
  SET v_new = @farmsync_new, v_changed = @farmsync_changed, v_gone = @farmsync_gone;
  SELECT MAX(row_count) INTO v_before FROM image
   WHERE group_name = p_group AND version = p_version - 1 AND dataset = p_name;
  SET v_after = COALESCE(v_before, 0) - v_gone + v_new;
  WHILE v_n < 3 DO
    SET v_n = v_n + 1, v_check = ELT(v_n, 'min_rows', 'max_gone', 'max_changed'), v_failed = 0, v_keys = NULL;
    SET v_count = ELT(v_n, v_after, v_gone, v_changed), v_op = ELT(v_n, 'g', 'g', 'c');
    CASE v_n
      WHEN 1 THEN
        -- A dataset of some size doesn't get empty by itself.
        SET v_min = COALESCE(v_min, IF(v_before >= 5, 1, 0));
        SET v_failed = v_after < v_min;
        SET v_said = IF(v_failed, CONCAT('FS1091: dataset ', p_name, ' would have ', v_after, ' rows, it had ',
          COALESCE(v_before, 0), ' (min_rows ', v_min, ')'), CONCAT('at least ', v_min, ' rows'));
      WHEN 2 THEN
        SET v_failed = COALESCE(v_before >= v_small AND v_gone * 100 > v_before * v_max_gone, 0);
        SET v_said = IF(v_failed, CONCAT('FS1092: dataset ', p_name, ' would lose ', v_gone, ' of its ', v_before,
          ' rows (max_gone ', v_max_gone + 0e0, ' %)'), CONCAT('at most ', v_max_gone + 0e0, ' % of the rows'));
      ELSE
        SET v_failed = COALESCE(v_before >= v_small AND v_changed * 100 > v_before * v_max_changed, 0);
        SET v_said = IF(v_failed, CONCAT('FS1093: dataset ', p_name, ' would change ', v_changed, ' of its ', v_before,
          ' rows (max_changed ', v_max_changed + 0e0, ' %)'),
          COALESCE(CONCAT('at most ', v_max_changed + 0e0, ' % of the rows'), 'no limit'));
    END CASE;
    IF v_failed THEN
      CALL count_wrong(p_name, 't', CONCAT('farmsync.difference AS t WHERE t.ds = ', p_ds, ' AND t.op = ''', v_op, ''''),
                       v_gone, v_keys);
      SET v_said = CONCAT(v_said, COALESCE(CONCAT(': ', LEFT(v_keys, 200)), ''), '; if that is meant: CALL farmsync.',
                          'allow_once(''', p_group, ''')');
      SET v_gone = @farmsync_gone;
    END IF;
    IF v_new + v_changed + v_gone > 0 OR v_failed THEN
      SET p_results = JSON_ARRAY_APPEND(p_results, '$', JSON_OBJECT('d', p_name, 'n', v_check,
        'r', IF(v_failed, IF(p_allowed, 'allowed', 'failed'), 'ok'), 'c', v_count, 't', v_said));
    END IF;
  END WHILE;
END //

DROP PROCEDURE IF EXISTS evaluate_checks //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE evaluate_checks(
  IN p_group VARCHAR(64), IN p_version BIGINT, OUT p_results LONGTEXT)
  MODIFIES SQL DATA
BEGIN
  DECLARE v_done, v_ds INT DEFAULT 0;
  DECLARE v_allowed TINYINT;
  DECLARE v_name, v_check VARCHAR(64);
  DECLARE v_result VARCHAR(8);
  DECLARE v_count BIGINT;
  DECLARE v_said TEXT;
  DECLARE v_each CURSOR FOR
    SELECT name FROM dataset WHERE group_name = p_group AND dropped = 0 ORDER BY name;
  DECLARE v_rules CURSOR FOR
    SELECT c.dataset, c.name FROM dataset_check c JOIN dataset d ON d.name = c.dataset
     WHERE d.group_name = p_group AND d.dropped = 0 ORDER BY c.dataset, c.name;
  DECLARE CONTINUE HANDLER FOR NOT FOUND SET v_done = 1;
  SET p_results = JSON_ARRAY();
  SELECT COUNT(*) INTO v_allowed FROM group_gate
   WHERE group_name = p_group AND allowed_at > UTC_TIMESTAMP(6) - INTERVAL 1 DAY;
  OPEN v_each;
  each_dataset: LOOP
    FETCH v_each INTO v_name;
    IF v_done THEN
      LEAVE each_dataset;
    END IF;
    SET v_ds = v_ds + 1;
    CALL evaluate_limits(p_group, v_name, v_ds, p_version, v_allowed, p_results);
  END LOOP;
  CLOSE v_each;
  SET v_done = 0;
  OPEN v_rules;
  each_rule: LOOP
    FETCH v_rules INTO v_name, v_check;
    IF v_done THEN
      LEAVE each_rule;
    END IF;
    CALL evaluate_check(v_name, v_check, p_version, v_result, v_count, v_said);
    SET p_results = JSON_ARRAY_APPEND(p_results, '$', JSON_OBJECT('d', v_name, 'n', v_check, 'r', v_result, 'c', v_count,
                                                                'k', 1, 't', v_said));
  END LOOP;
  CLOSE v_rules;
END //

-- The sentence of the first check of these that failed, NULL if none did.
DROP PROCEDURE IF EXISTS first_failed //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE first_failed(
  IN p_group VARCHAR(64), IN p_results LONGTEXT, OUT p_said TEXT)
  NO SQL
BEGIN
  DECLARE v_more INT;
  SELECT COUNT(*) - 1, MIN(IF(f.place = f.first_place, f.said, NULL)) INTO v_more, p_said
    FROM (SELECT j.place, j.said, MIN(j.place) OVER () AS first_place
            FROM JSON_TABLE(p_results, '$[*]' COLUMNS (place FOR ORDINALITY, result VARCHAR(8) PATH '$.r',
                            said VARCHAR(1024) PATH '$.t')) AS j
           WHERE j.result = 'failed') AS f;
  IF v_more >= 0 THEN
    -- What failed stops the promotion, whatever could be said of it.
    SET p_said = COALESCE(p_said, 'FS1096: a check failed');
  END IF;
  IF v_more > 0 THEN
    SET p_said = CONCAT(p_said, ' (', v_more, ' more: CALL farmsync.dry_run(''', p_group, '''))');
  END IF;
END //

-- For promote_work, when it has applied what changed: ends the promotion if a check fails.
DROP PROCEDURE IF EXISTS promote_checks //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE promote_checks(IN p_group VARCHAR(64), IN p_version BIGINT)
  MODIFIES SQL DATA
BEGIN
  DECLARE v_results LONGTEXT;
  DECLARE v_said TEXT;
  CALL evaluate_checks(p_group, p_version, v_results);
  CALL first_failed(p_group, v_results, v_said);
  IF v_said IS NOT NULL THEN
    CALL fail(v_said);
  END IF;
  UPDATE dataset_check SET passed = p_version
   WHERE dataset IN (SELECT name FROM dataset WHERE group_name = p_group AND dropped = 0);
  SELECT GROUP_CONCAT(j.said SEPARATOR ' ') INTO v_said
    FROM JSON_TABLE(v_results, '$[*]' COLUMNS (result VARCHAR(8) PATH '$.r', said VARCHAR(1024) PATH '$.t')) AS j
   WHERE j.result = 'allowed';
  IF v_said IS NOT NULL THEN
    SELECT CONCAT('allowed by ', allowed_by, ': ', v_said) INTO v_said FROM group_gate WHERE group_name = p_group;
    CALL note(p_group, 'limits_passed', p_version, v_said);
  END IF;
  UPDATE group_gate SET allowed_by = NULL, allowed_at = NULL WHERE group_name = p_group;
END //

-- A name for a check that no limit has.
DROP PROCEDURE IF EXISTS need_check_name //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE need_check_name(IN p_check VARCHAR(255))
  NO SQL
BEGIN
  IF COALESCE(p_check, '') NOT REGEXP '^[A-Za-z0-9_]{1,48}$' OR p_check IN ('min_rows', 'max_gone', 'max_changed') THEN
    CALL fail(CONCAT('FS1097: ''', COALESCE(p_check, 'NULL'),
                     ''' can''t be a check''s name; use 1 to 48 letters, digits and _, and no limit''s name'));
  END IF;
END //

-- Enters a check that was looked at, and says which rows of the newest version it would find.
DROP PROCEDURE IF EXISTS enter_check //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE enter_check(
  IN p_group VARCHAR(64), IN p_name VARCHAR(64), IN p_check VARCHAR(64), IN p_kind VARCHAR(16), IN p_expression TEXT,
  IN p_sql LONGTEXT, IN p_columns JSON, IN p_other VARCHAR(64), IN p_always TINYINT)
  MODIFIES SQL DATA
BEGIN
  DECLARE v_zone VARCHAR(64) DEFAULT @@SESSION.time_zone;
  DECLARE v_result VARCHAR(8);
  DECLARE v_count BIGINT;
  DECLARE v_said TEXT;
  DECLARE v_length BIGINT DEFAULT @@SESSION.group_concat_max_len;
  DECLARE EXIT HANDLER FOR SQLEXCEPTION
  BEGIN
    SET SESSION time_zone = v_zone;
    SET SESSION group_concat_max_len = v_length;
    ROLLBACK;
    RESIGNAL;
  END;
  SET SESSION time_zone = '+00:00';
  SET SESSION group_concat_max_len = 16777216;
  START TRANSACTION;
  CALL take_group(p_group);
  CALL need_dataset(p_name, p_group);
  BEGIN
    DECLARE EXIT HANDLER FOR 1062
      CALL fail(CONCAT('FS1097: dataset ', p_name, ' has a check ', p_check, ' already; CALL farmsync.drop_check(''', p_name,
                       ''', ''', p_check, ''') first, or use another name'));
    INSERT INTO dataset_check (dataset, name, kind, expression, condition_sql, columns_json, other, every_row, added_at, added_by)
    VALUES (p_name, p_check, p_kind, p_expression, p_sql, p_columns, p_other, p_always, UTC_TIMESTAMP(6), LEFT(USER(), 255));
  END;
  CALL evaluate_check(p_name, p_check, 0, v_result, v_count, v_said);
  IF v_count IS NULL THEN
    CALL fail(CONCAT(SUBSTRING_INDEX(v_said, '; CALL farmsync.drop_check(', 1), '; write it another way'));
  END IF;
  CALL note(p_group, IF(p_kind = 'rule', 'add_check', 'add_reference'), NULL,
            CONCAT(p_name, ' ', p_check, ': ', p_expression));
  COMMIT;
  SET SESSION time_zone = v_zone;
  SET SESSION group_concat_max_len = v_length;
  SELECT p_name AS dataset, p_check AS name, v_count AS wrong_now, IF(v_count > 0, v_said, '') AS detail;
END //

-- Rows for which the expression holds are wrong: add_check('prices', 'positive', 'price <= 0').
DROP PROCEDURE IF EXISTS add_check //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE add_check(
  IN p_dataset VARCHAR(255), IN p_name VARCHAR(255), IN p_expression TEXT)
  MODIFIES SQL DATA
BEGIN
  DECLARE v_group VARCHAR(64);
  DECLARE v_sql LONGTEXT;
  DECLARE v_always TINYINT;
  CALL need_dataset(p_dataset, v_group);
  CALL need_check_name(p_name);
  CALL parse_rule(p_dataset, p_expression, v_sql, v_always);
  CALL enter_check(v_group, p_dataset, p_name, 'rule', TRIM(p_expression), v_sql, NULL, NULL, v_always);
END //

-- The columns, unless one of them is NULL, are the key of a row of the other dataset:
-- add_reference('stock', 'sku', 'prices'). Its name is refers_<other>, or with a number if there are several.
DROP PROCEDURE IF EXISTS add_reference //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE add_reference(
  IN p_dataset VARCHAR(255), IN p_columns TEXT, IN p_other VARCHAR(255))
  MODIFIES SQL DATA
BEGIN
  DECLARE v_group, v_other_group, v_name VARCHAR(64);
  DECLARE v_json, v_names, v_unlike TEXT;
  DECLARE v_known, v_wanted, v_keys INT;
  CALL need_dataset(p_dataset, v_group);
  CALL need_dataset(p_other, v_other_group);
  IF v_group <> v_other_group THEN
    CALL fail(CONCAT('FS1099: ', p_dataset, ' and ', p_other, ' are of different groups, which don''t change together'));
  END IF;
  SET v_json = CONCAT('[', REPLACE(JSON_QUOTE(REPLACE(COALESCE(p_columns, ''), '`', '')), ',', '","'), ']');
  SELECT COUNT(*), COUNT(c.name), GROUP_CONCAT(c.name ORDER BY j.n SEPARATOR ', '),
         CONCAT('[', GROUP_CONCAT(JSON_QUOTE(c.name) ORDER BY j.n SEPARATOR ','), ']'),
         MIN(IF(k.kind <> c.kind, CONCAT(c.name, ' is ', c.kind, ', ', k.name, ' of ', p_other, ' is ', k.kind), NULL))
    INTO v_wanted, v_known, v_names, v_json, v_unlike
    FROM JSON_TABLE(v_json, '$[*]' COLUMNS (n FOR ORDINALITY, name VARCHAR(255) PATH '$')) AS j
    LEFT JOIN dataset_column c ON c.dataset = p_dataset AND LOWER(c.name) = LOWER(TRIM(j.name))
    LEFT JOIN dataset_column k ON k.dataset = p_other AND k.key_place = j.n;
  SELECT COUNT(*) INTO v_keys FROM dataset_column WHERE dataset = p_other AND key_place > 0;
  IF v_known <> v_wanted OR v_keys <> v_wanted THEN
    CALL fail(CONCAT('FS1099: ''', COALESCE(p_columns, 'NULL'), ''' are not as many columns of ', p_dataset, ' as the key of ',
                     p_other, ' has, which is ', v_keys));
  END IF;
  IF v_unlike IS NOT NULL THEN
    CALL fail(CONCAT('FS1099: columns that refer to each other must be of one kind: ', v_unlike));
  END IF;
  SELECT CONCAT('refers_', LEFT(p_other, 38), IF(COUNT(*) = 0, '', CONCAT('_', COUNT(*) + 1))) INTO v_name
    FROM dataset_check WHERE dataset = p_dataset AND other = p_other;
  CALL enter_check(v_group, p_dataset, v_name, 'reference', CONCAT(v_names, ' of ', p_other), NULL, v_json, p_other, 0);
END //

DROP PROCEDURE IF EXISTS drop_check //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE drop_check(IN p_dataset VARCHAR(255), IN p_name VARCHAR(255))
  MODIFIES SQL DATA
BEGIN
  DECLARE v_group VARCHAR(64);
  DECLARE v_expression TEXT;
  DECLARE EXIT HANDLER FOR SQLEXCEPTION
  BEGIN
    ROLLBACK;
    RESIGNAL;
  END;
  CALL need_dataset(p_dataset, v_group);
  START TRANSACTION;
  CALL take_group(v_group);
  SELECT MAX(expression) INTO v_expression FROM dataset_check WHERE dataset = p_dataset AND name = p_name;
  IF v_expression IS NULL THEN
    CALL fail(CONCAT('FS1097: dataset ', p_dataset, ' has no check ''', COALESCE(p_name, 'NULL'),
                     '''; see SELECT * FROM farmsync.checks'));
  END IF;
  DELETE FROM dataset_check WHERE dataset = p_dataset AND name = p_name;
  CALL note(v_group, 'drop_check', NULL, CONCAT(p_dataset, ' ', p_name, ': ', v_expression));
  COMMIT;
END //

-- set_limits('prices', '{"min_rows": 1000, "max_gone": 10, "max_changed": 30, "small": 100}'): all that isn't named gets
-- its default; NULL: all of them.
DROP PROCEDURE IF EXISTS set_limits //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE set_limits(IN p_dataset VARCHAR(255), IN p_limits LONGTEXT)
  MODIFIES SQL DATA
BEGIN
  DECLARE v_group VARCHAR(64);
  DECLARE v_text, v_value TEXT;
  DECLARE v_n INT DEFAULT 0;
  DECLARE EXIT HANDLER FOR SQLEXCEPTION
  BEGIN
    ROLLBACK;
    RESIGNAL;
  END;
  CALL need_dataset(p_dataset, v_group);
  SET p_limits = COALESCE(p_limits, '{}');
  IF NOT JSON_VALID(p_limits) OR JSON_TYPE(p_limits) <> 'OBJECT' THEN
    CALL fail('FS1098: limits are a JSON object, like {"min_rows": 1000, "max_gone": 10}');
  END IF;
  SELECT MIN(o.k) INTO v_text FROM JSON_TABLE(JSON_KEYS(p_limits), '$[*]' COLUMNS (k VARCHAR(255) PATH '$')) AS o
   WHERE o.k NOT IN ('min_rows', 'max_gone', 'max_changed', 'small');
  IF v_text IS NOT NULL THEN
    CALL fail(CONCAT('FS1098: there is no limit "', v_text, '"; there are min_rows, max_gone, max_changed and small'));
  END IF;
  WHILE v_n < 4 DO
    SET v_n = v_n + 1, v_text = ELT(v_n, 'min_rows', 'small', 'max_gone', 'max_changed');
    SET v_value = JSON_UNQUOTE(JSON_EXTRACT(p_limits, CONCAT('$.', v_text)));
    IF JSON_TYPE(JSON_EXTRACT(p_limits, CONCAT('$.', v_text))) = 'NULL' THEN
      SET p_limits = JSON_REMOVE(p_limits, CONCAT('$.', v_text));
    ELSEIF v_value NOT REGEXP IF(v_n <= 2, '^[0-9]{1,15}$', '^[0-9]{1,3}([.][0-9]{1,2})?$') OR v_n > 2 AND v_value > 100 THEN
      CALL fail(CONCAT('FS1098: ', v_text, IF(v_n <= 2, ' is a number of rows, 0 or more', ' is a percentage, 0 to 100')));
    END IF;
  END WHILE;
  START TRANSACTION;
  CALL take_group(v_group);
  DELETE FROM dataset_limits WHERE dataset = p_dataset;
  INSERT INTO dataset_limits (dataset, min_rows, max_gone, max_changed, small)
  VALUES (p_dataset, JSON_UNQUOTE(JSON_EXTRACT(p_limits, '$.min_rows')), JSON_UNQUOTE(JSON_EXTRACT(p_limits, '$.max_gone')),
          JSON_UNQUOTE(JSON_EXTRACT(p_limits, '$.max_changed')), JSON_UNQUOTE(JSON_EXTRACT(p_limits, '$.small')));
  CALL note(v_group, 'set_limits', NULL, CONCAT(p_dataset, ' ', p_limits));
  COMMIT;
END //

-- The next version that is staged, within a day, may break limits, but not rules and references.
DROP PROCEDURE IF EXISTS allow_once //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE allow_once(IN p_group VARCHAR(255))
  MODIFIES SQL DATA
BEGIN
  DECLARE EXIT HANDLER FOR SQLEXCEPTION
  BEGIN
    ROLLBACK;
    RESIGNAL;
  END;
  START TRANSACTION;
  CALL take_group(p_group);
  INSERT INTO group_gate (group_name, allowed_by, allowed_at) VALUES (p_group, LEFT(USER(), 255), UTC_TIMESTAMP(6))
  ON DUPLICATE KEY UPDATE allowed_by = VALUES(allowed_by), allowed_at = VALUES(allowed_at);
  CALL note(p_group, 'allow_once', NULL, '');
  COMMIT;
END //

DELIMITER ;
