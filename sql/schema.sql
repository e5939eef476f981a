-- SPDX-License-Identifier: Apache-2.0
-- The tables of farmsync and the account that owns its procedures. May be run again at any time: what
-- is there stays. All times are UTC. Every change of a row of `sync` raises its `epoch`: that is how
-- agents and datasrv notice changes, and what a promoter's compare-and-swap is made on.
SET NAMES utf8mb4;

CREATE DATABASE IF NOT EXISTS farmsync CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
USE farmsync;

-- Nobody can log in as this account: the procedures run with its rights (SQL SECURITY DEFINER), so that
-- a web server can have a promotion done and still write no data of its own making. It needs SELECT on
-- the tables that become datasets; add_dataset names the GRANT where that is missing.
CREATE USER IF NOT EXISTS 'farmsync'@'localhost' ACCOUNT LOCK;
GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, ALTER, INDEX, CREATE TEMPORARY TABLES, CREATE VIEW,
  SHOW VIEW, EXECUTE ON farmsync.* TO 'farmsync'@'localhost';

-- One row per group. `version` is the staged (newest) version, `active_version` the one in force before
-- `activation_time`; from then on `version` is in force. Both 0: nothing was promoted yet. While a version waits
-- for servers to be ready (procedures/ready.sql) `activation_time` is in the year 9999 and `planned_time` set.
CREATE TABLE IF NOT EXISTS sync (
  group_name      VARCHAR(64)  NOT NULL,
  version         BIGINT       NOT NULL DEFAULT 0,
  active_version  BIGINT       NOT NULL DEFAULT 0,
  activation_time DATETIME(6)  NOT NULL,
  sync_interval   INT UNSIGNED NOT NULL DEFAULT 600 COMMENT 'seconds',
  min_lead        DECIMAL(9,3) NOT NULL DEFAULT 2.000 COMMENT 'seconds that servers get to retrieve',
  epoch           BIGINT       NOT NULL DEFAULT 1,
  state           ENUM('running','held','failed','waiting') NOT NULL DEFAULT 'running',
  reason          VARCHAR(512) NOT NULL DEFAULT '',
  pinned_version  BIGINT       NULL,
  promoted_by     VARCHAR(128) NULL,
  promoted_at     DATETIME(6)  NULL,
  keep_versions   INT UNSIGNED NOT NULL DEFAULT 10,
  grid_time       DATETIME(6)  NOT NULL COMMENT 'a moment of the grid that activations are kept on',
  wanted_time     DATETIME(6)  NULL COMMENT 'one activation off the grid that an operator asked for',
  promoting       TINYINT      NOT NULL DEFAULT 0 COMMENT '1 only inside a promotion that is not done',
  content_time    DATETIME(6)  NULL COMMENT 'the moment for which version holds what is right then',
  ready_percent   TINYINT UNSIGNED NULL COMMENT 'of the servers that must be ready; NULL: time alone counts',
  ready_limit     INT UNSIGNED NOT NULL DEFAULT 300 COMMENT 'seconds that an activation is put off at most',
  ready_on_limit  ENUM('activate','hold') NOT NULL DEFAULT 'activate',
  planned_time    DATETIME(6)  NULL COMMENT 'when the version that waits is to be in force',
  ready_until     DATETIME(6)  NULL COMMENT 'how long that may be put off',
  put_off         INT UNSIGNED NOT NULL DEFAULT 0 COMMENT 'how often it was',
  staged_digest   VARCHAR(64)  NOT NULL DEFAULT '' COMMENT 'what a server that is ready reports',
  keep_age        INT UNSIGNED NOT NULL DEFAULT 0 COMMENT 'seconds; what was in force within them is kept',
  return_to       BIGINT       NULL COMMENT 'a roll-back that is ordered: the version whose content is next',
  return_pin      TINYINT      NOT NULL DEFAULT 0 COMMENT '1: pinned then, 0: held then',
  return_who      VARCHAR(255) NOT NULL DEFAULT '',
  PRIMARY KEY (group_name)
) ENGINE=InnoDB;

INSERT INTO sync (group_name, activation_time, grid_time)
SELECT 'default', UTC_TIMESTAMP(6), UTC_TIMESTAMP(6) FROM (SELECT 1) AS one
 WHERE NOT EXISTS (SELECT 1 FROM (SELECT group_name FROM sync) AS s WHERE s.group_name = 'default');

-- `source` is quoted: `schema`.`table`. `dropped`: 0 in use, 1 drop_dataset was called, 2 is being added.
CREATE TABLE IF NOT EXISTS dataset (
  name            VARCHAR(64)  NOT NULL,
  group_name      VARCHAR(64)  NOT NULL,
  source          VARCHAR(193) NOT NULL,
  key_columns     JSON         NOT NULL,
  `columns`       JSON         NOT NULL,
  activate_column VARCHAR(64)  NULL,
  expire_column   VARCHAR(64)  NULL,
  schedule_types  JSON         NULL COMMENT 'SQL types of these two',
  options         JSON         NULL,
  dropped         TINYINT      NOT NULL DEFAULT 0,
  added_at        DATETIME(6)  NOT NULL,
  PRIMARY KEY (name),
  KEY by_group (group_name, dropped)
) ENGINE=InnoDB;

-- How each column of a dataset is read, carried and compared; procedures.sql explains it.
CREATE TABLE IF NOT EXISTS dataset_column (
  dataset   VARCHAR(64)  NOT NULL,
  place     INT          NOT NULL,
  name      VARCHAR(64)  NOT NULL,
  key_place INT          NOT NULL DEFAULT 0,
  kind      VARCHAR(8)   NOT NULL COMMENT 'type for readers: text integer decimal float time json binary',
  read_as   ENUM('plain','number','double','float','text') NOT NULL,
  carrier   VARCHAR(255) NOT NULL COMMENT 'SQL type in the table of differences',
  slot      VARCHAR(24)  NOT NULL COMMENT 'column there',
  PRIMARY KEY (dataset, place)
) ENGINE=InnoDB;

-- Datasets whose changes aren't found by full comparison; procedures/changes.sql explains it.
CREATE TABLE IF NOT EXISTS dataset_changes (
  dataset       VARCHAR(64)   NOT NULL,
  how           ENUM('column','triggers') NOT NULL,
  table_schema  VARCHAR(64)   NOT NULL,
  table_name    VARCHAR(64)   NOT NULL,
  change_column VARCHAR(64)   NULL,
  overlap       DECIMAL(20,6) NOT NULL COMMENT 'seconds, or units of an integer column',
  full_every    INT UNSIGNED  NOT NULL COMMENT 'seconds between full comparisons',
  newest        VARCHAR(64)   NULL COMMENT 'newest value of the change column that was seen',
  full_at       DATETIME(6)   NULL COMMENT 'last full comparison; NULL: the next one is full',
  problem       VARCHAR(512)  NOT NULL DEFAULT '' COMMENT 'why every comparison is full nevertheless',
  PRIMARY KEY (dataset)
) ENGINE=InnoDB;

-- One row per dataset of each version: its image, and that the dataset belongs to the version. `since`
-- is the version in which this content first appeared; it is written into the image.
CREATE TABLE IF NOT EXISTS image (
  group_name VARCHAR(64) NOT NULL,
  version    BIGINT      NOT NULL,
  dataset    VARCHAR(64) NOT NULL,
  digest     CHAR(64)    NOT NULL,
  bytes      BIGINT      NOT NULL,
  row_count  BIGINT      NOT NULL,
  since      BIGINT      NOT NULL,
  PRIMARY KEY (group_name, version, dataset)
) ENGINE=InnoDB;

-- What must find nothing wrong in a version; procedures/checks.sql explains it.
CREATE TABLE IF NOT EXISTS dataset_check (
  dataset       VARCHAR(64)  NOT NULL,
  name          VARCHAR(64)  NOT NULL,
  kind          ENUM('rule','reference') NOT NULL,
  expression    TEXT         NOT NULL COMMENT 'for people',
  condition_sql LONGTEXT     NULL COMMENT 'of a rule, over the row d',
  columns_json  JSON         NULL COMMENT 'of a reference',
  other         VARCHAR(64)  NULL COMMENT 'dataset that a reference is to',
  every_row     TINYINT      NOT NULL COMMENT '1: rows that stay are looked at, too',
  passed        BIGINT       NULL COMMENT 'newest version that passed',
  added_at      DATETIME(6)  NOT NULL,
  added_by      VARCHAR(255) NOT NULL,
  PRIMARY KEY (dataset, name)
) ENGINE=InnoDB;

-- Limits of a dataset that aren't the defaults.
CREATE TABLE IF NOT EXISTS dataset_limits (
  dataset     VARCHAR(64)  NOT NULL,
  min_rows    BIGINT       NULL,
  max_gone    DECIMAL(5,2) NULL COMMENT 'percent',
  max_changed DECIMAL(5,2) NULL COMMENT 'percent',
  small       BIGINT       NULL COMMENT 'percentages count from so many rows on',
  PRIMARY KEY (dataset)
) ENGINE=InnoDB;

-- What a promotion of the group must have been granted; procedures/approval.sql and checks.sql explain it.
CREATE TABLE IF NOT EXISTS group_gate (
  group_name   VARCHAR(64)  NOT NULL,
  approval     TINYINT      NOT NULL DEFAULT 0 COMMENT '1: a second account confirms what is pending',
  waits_for    CHAR(64)     NULL COMMENT 'digest that history has told of',
  requested    CHAR(64)     NULL COMMENT 'digest',
  requested_by VARCHAR(255) NULL,
  requested_at DATETIME(6)  NULL,
  approved_by  VARCHAR(255) NULL,
  approved_at  DATETIME(6)  NULL,
  allowed_by   VARCHAR(255) NULL COMMENT 'who lets the next version break limits',
  allowed_at   DATETIME(6)  NULL,
  PRIMARY KEY (group_name)
) ENGINE=InnoDB;

CREATE TABLE IF NOT EXISTS member (
  name            VARCHAR(64)  NOT NULL,
  kind            VARCHAR(8)   NOT NULL,
  group_name      VARCHAR(64)  NOT NULL,
  address         VARCHAR(128) NOT NULL DEFAULT '',
  version_active  BIGINT       NOT NULL DEFAULT 0,
  version_staged  BIGINT       NOT NULL DEFAULT 0,
  digest          VARCHAR(64)  NOT NULL DEFAULT '',
  digest_staged   VARCHAR(64)  NOT NULL DEFAULT '',
  clock_offset_us BIGINT       NULL,
  clock_bound_us  BIGINT       NULL,
  clock_source    VARCHAR(64)  NOT NULL DEFAULT '',
  problem         VARCHAR(256) NOT NULL DEFAULT '',
  seen            DATETIME(6)  NOT NULL,
  listen          VARCHAR(288) NOT NULL DEFAULT '' COMMENT 'base URL at which others reach an agent',
  PRIMARY KEY (name, group_name)
) ENGINE=InnoDB;

CREATE TABLE IF NOT EXISTS history (
  id           BIGINT       NOT NULL AUTO_INCREMENT,
  at           DATETIME(6)  NOT NULL,
  group_name   VARCHAR(64)  NOT NULL,
  action       VARCHAR(32)  NOT NULL,
  version      BIGINT       NULL,
  who          VARCHAR(255) NOT NULL,
  rows_changed BIGINT       NULL,
  detail       VARCHAR(1024) NOT NULL DEFAULT '',
  comment      VARCHAR(512) NOT NULL DEFAULT '' COMMENT 'why: what @farmsync_comment said',
  account      VARCHAR(255) NOT NULL DEFAULT '' COMMENT 'database account; who may be a server of the farm',
  PRIMARY KEY (id),
  KEY by_version (group_name, action, version)
) ENGINE=InnoDB;

-- What operators say of applications' availability, to be passed on; procedures/availability.sql explains it.
CREATE TABLE IF NOT EXISTS notice (
  id          BIGINT       NOT NULL AUTO_INCREMENT,
  at          DATETIME(6)  NOT NULL,
  who         VARCHAR(128) NOT NULL,
  act         ENUM('down','up') NOT NULL,
  application VARCHAR(64)  NOT NULL,
  body        LONGTEXT     NOT NULL COMMENT 'JSON object: what the notice says beside the application',
  state       ENUM('waiting','told','refused') NOT NULL DEFAULT 'waiting',
  taken_by    VARCHAR(64)  NOT NULL DEFAULT '' COMMENT 'data server that passes it on now',
  taken_until DATETIME(6)  NULL,
  told_at     DATETIME(6)  NULL,
  told_by     VARCHAR(64)  NOT NULL DEFAULT '',
  answer      VARCHAR(512) NOT NULL DEFAULT '' COMMENT 'what came of it',
  PRIMARY KEY (id),
  KEY by_state (state, id)
) ENGINE=InnoDB;

-- What tables of an earlier installation lack.
DROP PROCEDURE IF EXISTS add_column;
DELIMITER //
CREATE PROCEDURE add_column(IN p_table VARCHAR(64), IN p_column VARCHAR(64), IN p_definition TEXT)
  MODIFIES SQL DATA
BEGIN
  DECLARE v_count INT;
  SELECT COUNT(*) INTO v_count FROM information_schema.columns
   WHERE table_schema = 'farmsync' AND table_name = p_table AND column_name = p_column;
  IF v_count = 0 THEN
    SET @farmsync_sql = CONCAT('ALTER TABLE farmsync.`', p_table, '` ADD COLUMN `', p_column, '` ', p_definition);
    PREPARE farmsync_statement FROM @farmsync_sql;
    EXECUTE farmsync_statement;
    DEALLOCATE PREPARE farmsync_statement;
  END IF;
END //
DELIMITER ;
CALL add_column('history', 'comment', 'VARCHAR(512) NOT NULL DEFAULT '''' COMMENT ''why: what @farmsync_comment said''');
CALL add_column('history', 'account',
  'VARCHAR(255) NOT NULL DEFAULT '''' COMMENT ''database account; who may be a server of the farm''');
CALL add_column('sync', 'keep_age', 'INT UNSIGNED NOT NULL DEFAULT 0 COMMENT ''seconds; what was in force within them is kept''');
CALL add_column('sync', 'return_to', 'BIGINT NULL COMMENT ''a roll-back that is ordered: the version whose content is next''');
CALL add_column('sync', 'return_pin', 'TINYINT NOT NULL DEFAULT 0 COMMENT ''1: pinned then, 0: held then''');
CALL add_column('sync', 'return_who', 'VARCHAR(255) NOT NULL DEFAULT ''''');
ALTER TABLE sync MODIFY state ENUM('running','held','failed','waiting') NOT NULL DEFAULT 'running';
CALL add_column('sync', 'ready_percent',
  'TINYINT UNSIGNED NULL COMMENT ''of the servers that must be ready; NULL: time alone counts''');
CALL add_column('sync', 'ready_limit',
  'INT UNSIGNED NOT NULL DEFAULT 300 COMMENT ''seconds that an activation is put off at most''');
CALL add_column('sync', 'ready_on_limit', 'ENUM(''activate'',''hold'') NOT NULL DEFAULT ''activate''');
CALL add_column('sync', 'planned_time', 'DATETIME(6) NULL COMMENT ''when the version that waits is to be in force''');
CALL add_column('sync', 'ready_until', 'DATETIME(6) NULL COMMENT ''how long that may be put off''');
CALL add_column('sync', 'put_off', 'INT UNSIGNED NOT NULL DEFAULT 0 COMMENT ''how often it was''');
CALL add_column('sync', 'staged_digest',
  'VARCHAR(64) NOT NULL DEFAULT '''' COMMENT ''what a server that is ready reports''');
CALL add_column('member', 'digest_staged', 'VARCHAR(64) NOT NULL DEFAULT ''''');
CALL add_column('sync', 'content_time',
  'DATETIME(6) NULL COMMENT ''the moment for which version holds what is right then''');
CALL add_column('dataset', 'schedule_types', 'JSON NULL COMMENT ''SQL types of these two''');
CALL add_column('member', 'listen',
  'VARCHAR(288) NOT NULL DEFAULT '''' COMMENT ''base URL at which others reach an agent''');
DROP PROCEDURE add_column;
