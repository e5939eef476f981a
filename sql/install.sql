-- SPDX-License-Identifier: Apache-2.0
-- Installs farmsync, or brings its procedures and views up to date and keeps all data:
--   cd <this directory> && mariadb < install.sql        (or: mysql < install.sql)
-- as an account that may create databases, accounts and definer-rights procedures.
SOURCE schema.sql
SOURCE procedures.sql
SOURCE views.sql
SOURCE grants.sql
