-- SPDX-License-Identifier: Apache-2.0
-- Availability for people with a mysql client: an application is down, or up again. What is said here is an
-- order in `notice`; a data server passes it on to an agent, which tells the whole farm, and enters what came of
-- it. The agents keep what is in force, not this database: they work without it, and others tell them as well.
-- Orders are passed on one after the other in the order of their ids, each by one data server at a time: it
-- takes the order for some seconds, and no agent accepts it from it after that. If it dies another one takes it.
-- Loaded by ../procedures.sql, which sets the mode that procedures keep.
DELIMITER //

DROP PROCEDURE IF EXISTS need_application //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE need_application(IN p_app TEXT)
  NO SQL
BEGIN
  IF COALESCE(p_app, '') NOT REGEXP '^([A-Za-z0-9._:-]{1,64}|[*])$' THEN
    CALL fail(CONCAT('FS1160: ''', LEFT(COALESCE(p_app, 'NULL'), 64), ''' can''t be an application''s name; give the ',
                     'name that FarmSyncApplication has, or * for all'));
  END IF;
END //

-- Enters an order and shows its number. p_detail is for people.
DROP PROCEDURE IF EXISTS order_notice //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE order_notice(
  IN p_act VARCHAR(8), IN p_app VARCHAR(64), IN p_body LONGTEXT, IN p_detail TEXT)
  MODIFIES SQL DATA
BEGIN
  DECLARE v_id BIGINT;
  DECLARE EXIT HANDLER FOR SQLEXCEPTION
  BEGIN
    ROLLBACK;
    RESIGNAL;
  END;
  -- What an agent takes is 4096 bytes, with who said it and when.
  IF LENGTH(p_body) > 3600 THEN
    CALL fail(CONCAT('FS1164: this notice takes ', LENGTH(p_body), ' bytes, 3600 at most; shorten the messages'));
  END IF;
  CALL true_time();
  START TRANSACTION;
  INSERT INTO notice (at, who, act, application, body)
  VALUES (UTC_TIMESTAMP(6), LEFT(USER(), 128), p_act, p_app, p_body);
  SET v_id = LAST_INSERT_ID();
  CALL note('', CONCAT('app_', p_act), NULL, CONCAT(p_app, p_detail));
  COMMIT;
  SELECT IF(EXISTS (SELECT 1 FROM member WHERE kind = 'datasrv' AND seen >= UTC_TIMESTAMP(6) - INTERVAL 15 SECOND),
            CONCAT('notice ', v_id, ' is ordered; SELECT * FROM farmsync.notices shows who was told'),
            CONCAT('FS1167: notice ', v_id, ' is ordered, but NOBODY IS TOLD until a data server passes it on, and none was ',
                   'heard of for 15 s; start datasrv, or say it on a web server with farmsyncctl')) AS result;
END //

-- p_reason: unknown, planned, outage, testing or an own one; p_until: UTC, NULL until it is up again; p_message:
-- for visitors. NULL or '' where there is nothing to say. Said again, it replaces what was said.
DROP PROCEDURE IF EXISTS app_down //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE app_down(
  IN p_app TEXT, IN p_reason TEXT, IN p_until DATETIME(6), IN p_message TEXT)
  MODIFIES SQL DATA
BEGIN
  DECLARE v_options LONGTEXT;
  CALL true_time();
  IF p_until <= UTC_TIMESTAMP(6) THEN
    CALL fail(CONCAT('FS1161: ', p_until, ' has passed: it is ', UTC_TIMESTAMP(6), ' UTC; give a later time, or NULL'));
  END IF;
  SET v_options = JSON_OBJECT('reason', COALESCE(NULLIF(p_reason, ''), 'unknown'));
  IF p_until IS NOT NULL THEN
    SET v_options = JSON_SET(v_options, '$.until', DATE_FORMAT(p_until, '%Y-%m-%dT%H:%i:%s.%fZ'));
  END IF;
  IF p_message <> '' THEN
    SET v_options = JSON_SET(v_options, '$.message', CONVERT(p_message USING utf8mb4));
  END IF;
  CALL app_down_with(p_app, v_options);
END //

-- The same with everything that a notice can say, a JSON object: {"reason": "planned", "until":
-- "2026-12-01T14:30:00Z", "messages": {"en": "Back soon", "de": "Gleich zurück"}, "condition":
-- "%{REQUEST_METHOD} != 'GET'", "servers": ["web1"]}; doc/sql.md lists the fields. What an agent refuses in it is
-- said in the view `notices`.
DROP PROCEDURE IF EXISTS app_down_with //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE app_down_with(IN p_app TEXT, IN p_options LONGTEXT)
  MODIFIES SQL DATA
BEGIN
  DECLARE v_text TEXT;
  CALL need_application(p_app);
  IF p_options IS NULL OR NOT JSON_VALID(p_options) OR JSON_TYPE(p_options) <> 'OBJECT' THEN
    CALL fail('FS1162: the options must be a JSON object, like {"reason": "planned", "until": "2026-12-01T14:30:00Z"}');
  END IF;
  SELECT MIN(o.k) INTO v_text FROM JSON_TABLE(JSON_KEYS(p_options), '$[*]' COLUMNS (k VARCHAR(255) PATH '$')) AS o
   WHERE o.k NOT IN ('id', 'state', 'reason', 'component', 'message', 'messages', 'from', 'until', 'weekly', 'condition',
                     'servers', 'link');
  IF v_text IS NOT NULL THEN
    CALL fail(CONCAT('FS1162: there is no option "', LEFT(v_text, 40), '"; there are id, state, reason, component, ',
                     'message, messages, from, until, weekly, condition, servers and link'));
  END IF;
  SET v_text = COALESCE(JSON_UNQUOTE(JSON_EXTRACT(p_options, '$.reason')), 'unknown');
  IF v_text NOT REGEXP '^[a-z0-9_-]{1,32}$' THEN
    CALL fail(CONCAT('FS1163: ''', LEFT(v_text, 40), ''' can''t be a reason; use 1 to 32 of a-z, 0-9, _ and -'));
  END IF;
  SET v_text = CONCAT_WS(', ', CONCAT(': ', v_text),
    CONCAT('from ', JSON_UNQUOTE(JSON_EXTRACT(p_options, '$.from'))),
    CONCAT('until ', JSON_UNQUOTE(JSON_EXTRACT(p_options, '$.until'))),
    CONCAT('where ', JSON_UNQUOTE(JSON_EXTRACT(p_options, '$.condition'))),
    JSON_UNQUOTE(COALESCE(JSON_EXTRACT(p_options, '$.message'), JSON_EXTRACT(p_options, '$.messages'))));
  CALL order_notice('down', p_app, p_options, v_text);
END //

-- Whatever operators have said that makes the application unavailable now is taken back; what is planned for
-- later stays.
DROP PROCEDURE IF EXISTS app_up //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE app_up(IN p_app TEXT)
  MODIFIES SQL DATA
BEGIN
  CALL app_up_with(p_app, NULL);
END //

-- {"id": "db-move"}: only the notice with this id is taken back, also one that is planned.
DROP PROCEDURE IF EXISTS app_up_with //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE app_up_with(IN p_app TEXT, IN p_options LONGTEXT)
  MODIFIES SQL DATA
BEGIN
  DECLARE v_id TEXT;
  CALL need_application(p_app);
  IF p_options IS NOT NULL THEN
    IF NOT JSON_VALID(p_options) OR JSON_TYPE(p_options) <> 'OBJECT'
       OR COALESCE(JSON_KEYS(p_options), '[]') NOT IN ('[]', '["id"]') THEN
      CALL fail('FS1165: the options must be a JSON object with id and nothing else, like {"id": "db-move"}');
    END IF;
    SET v_id = JSON_UNQUOTE(JSON_EXTRACT(p_options, '$.id'));
    IF v_id NOT REGEXP '^[A-Za-z0-9._:-]{1,64}$' THEN
      CALL fail('FS1165: an id has 1 to 64 letters, digits, ., _, : and -');
    END IF;
  END IF;
  CALL order_notice('up', p_app, COALESCE(p_options, '{}'), COALESCE(CONCAT(': ', v_id), ''));
END //

-- For datasrv. Takes the oldest order that waits for p_seconds and shows it; no row if there is none, or another
-- one has it. `before_us`: until when (UTC, microseconds since 1970) it may be passed on.
DROP PROCEDURE IF EXISTS notice_take //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE notice_take(IN p_who VARCHAR(64), IN p_seconds INT)
  MODIFIES SQL DATA
BEGIN
  DECLARE v_id BIGINT;
  DECLARE EXIT HANDLER FOR SQLEXCEPTION
  BEGIN
    ROLLBACK;
    RESIGNAL;
  END;
  CALL true_time();
  START TRANSACTION;
  SELECT MIN(id) INTO v_id FROM notice WHERE state = 'waiting';
  UPDATE notice SET taken_by = p_who, taken_until = UTC_TIMESTAMP(6) + INTERVAL LEAST(GREATEST(p_seconds, 1), 60) SECOND
   WHERE id = v_id AND state = 'waiting' AND (taken_by = p_who OR COALESCE(taken_until, '1970-01-01') <= UTC_TIMESTAMP(6));
  IF ROW_COUNT() = 0 THEN
    SET v_id = NULL;
  END IF;
  COMMIT;
  SELECT id, act, application, body, who, TIMESTAMPDIFF(MICROSECOND, '1970-01-01 00:00:00', taken_until) AS before_us
    FROM notice WHERE id = v_id;
END //

-- For datasrv. p_state: told, refused, or waiting if nobody could be told yet; p_answer: for people. Who has lost
-- the order meanwhile changes nothing.
DROP PROCEDURE IF EXISTS notice_told //
CREATE DEFINER = 'farmsync'@'localhost' PROCEDURE notice_told(
  IN p_id BIGINT, IN p_who VARCHAR(64), IN p_state VARCHAR(16), IN p_answer TEXT)
  MODIFIES SQL DATA
BEGIN
  DECLARE EXIT HANDLER FOR SQLEXCEPTION
  BEGIN
    ROLLBACK;
    RESIGNAL;
  END;
  IF COALESCE(p_state, '') NOT IN ('told', 'refused', 'waiting') THEN
    CALL fail('FS1166: the state of an order is told, refused or waiting');
  END IF;
  CALL true_time();
  START TRANSACTION;
  UPDATE notice SET state = p_state, answer = LEFT(COALESCE(p_answer, ''), 512), told_by = p_who,
                    told_at = IF(p_state = 'told', UTC_TIMESTAMP(6), NULL), taken_by = '', taken_until = NULL
   WHERE id = p_id AND state = 'waiting' AND taken_by = p_who;
  DELETE FROM notice WHERE state <> 'waiting' AND at < UTC_TIMESTAMP(6) - INTERVAL 90 DAY LIMIT 100;
  COMMIT;
END //

DELIMITER ;
