-- SPDX-License-Identifier: Apache-2.0
-- A small shop to try farmsync with: four tables that change together. May be run again: it only adds
-- what is missing.
SET NAMES utf8mb4;
CREATE DATABASE IF NOT EXISTS shop CHARACTER SET utf8mb4;
USE shop;

CREATE TABLE IF NOT EXISTS price (
  sku      VARCHAR(32)   NOT NULL,
  name     VARCHAR(200)  NOT NULL,
  price    DECIMAL(10,2) NOT NULL,
  currency CHAR(3)       NOT NULL DEFAULT 'EUR',
  changed  TIMESTAMP     NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
  PRIMARY KEY (sku)
) ENGINE=InnoDB;

CREATE TABLE IF NOT EXISTS shipping (
  country   CHAR(2)       NOT NULL,
  service   VARCHAR(20)   NOT NULL,
  price     DECIMAL(10,2) NOT NULL,
  days      TINYINT UNSIGNED NOT NULL,
  free_from DECIMAL(10,2) NULL COMMENT 'order value from which it is free; NULL: never',
  PRIMARY KEY (country, service)
) ENGINE=InnoDB;

CREATE TABLE IF NOT EXISTS promotion (
  code    VARCHAR(32)  NOT NULL,
  title   VARCHAR(200) NOT NULL,
  percent DECIMAL(5,2) NOT NULL,
  rules   JSON         NULL,
  PRIMARY KEY (code)
) ENGINE=InnoDB;

CREATE TABLE IF NOT EXISTS offer (
  id     INT           NOT NULL AUTO_INCREMENT,
  sku    VARCHAR(32)   NOT NULL,
  price  DECIMAL(10,2) NOT NULL,
  starts DATETIME      NULL COMMENT 'UTC; NULL: always',
  ends   DATETIME      NULL COMMENT 'UTC; NULL: never',
  PRIMARY KEY (id),
  UNIQUE KEY schedule (sku, starts),
  KEY starts (starts),
  KEY ends (ends)
) ENGINE=InnoDB;

INSERT IGNORE INTO price (sku, name, price) VALUES
  ('sku-1', 'Espresso cup, 80 ml', 7.90),
  ('sku-2', 'Cappuccino cup, 180 ml', 9.90),
  ('sku-3', 'Saucer', 3.50),
  ('sku-4', 'Moka pot, 3 cups', 29.00),
  ('sku-5', 'Grinder, hand-cranked', 64.00),
  ('sku-6', 'Kaffeebohnen „Süden“, 1 kg', 18.50),
  ('sku-7', '煎茶 (Sencha), 100 g', 12.80),
  ('sku-8', 'Gift card ☕', 25.00);
INSERT IGNORE INTO shipping (country, service, price, days, free_from) VALUES
  ('DE', 'standard', 3.90, 2, 49.00),
  ('DE', 'express', 9.90, 1, NULL),
  ('FR', 'standard', 6.90, 4, 99.00),
  ('US', 'standard', 14.90, 9, NULL);
INSERT IGNORE INTO promotion (code, title, percent, rules) VALUES
  ('WELCOME', 'Welcome: 5 % off your first order', 5.00, '{"first_order": true}'),
  ('CUPS', 'Six cups, ten percent off', 10.00, '{"sku": ["sku-1", "sku-2"], "from": 6}');

INSERT IGNORE INTO offer (id, sku, price, starts, ends) VALUES
  (1, 'sku-4', 26.00, NULL, NULL),
  (2, 'sku-4', 19.90, UTC_DATE() + INTERVAL 1 DAY, UTC_DATE() + INTERVAL 2 DAY),
  (3, 'sku-5', 49.00, UTC_DATE() + INTERVAL 1 DAY, NULL);

-- farmsync reads the shop with this account's rights; then
--   CALL farmsync.add_dataset('prices', 'shop.price', 'sku');
--   CALL farmsync.add_dataset('shipping', 'shop.shipping', 'country,service');
--   CALL farmsync.add_dataset('promotions', 'shop.promotion', 'code');
--   CALL farmsync.add_dataset_with('offers', 'shop.offer', 'sku',
--     '{"activate_column": "starts", "expire_column": "ends"}');
GRANT SELECT ON shop.* TO 'farmsync'@'localhost';
