-- SPDX-License-Identifier: Apache-2.0
-- Three roles with least privilege. Make accounts for them, for example:
--   CREATE USER 'web'@'10.0.0.%' IDENTIFIED BY '...';
--   GRANT farmsync_agent TO 'web'@'10.0.0.%';
--   SET DEFAULT ROLE farmsync_agent FOR 'web'@'10.0.0.%';   -- MySQL: SET DEFAULT ROLE ... TO ...
-- To be run again after procedures.sql, because replacing a procedure takes its grants away.
CREATE ROLE IF NOT EXISTS farmsync_agent;
CREATE ROLE IF NOT EXISTS farmsync_datasrv;
CREATE ROLE IF NOT EXISTS farmsync_operator;

-- A web server reads, and has promotions done; it can't write data of its own making.
GRANT SELECT ON farmsync.* TO farmsync_agent;
GRANT EXECUTE ON PROCEDURE farmsync.promote TO farmsync_agent;
GRANT EXECUTE ON PROCEDURE farmsync.promote_image TO farmsync_agent;
GRANT EXECUTE ON PROCEDURE farmsync.promote_done TO farmsync_agent;
GRANT EXECUTE ON PROCEDURE farmsync.promote_failed TO farmsync_agent;
GRANT EXECUTE ON PROCEDURE farmsync.report_members TO farmsync_agent;
GRANT EXECUTE ON PROCEDURE farmsync.decide TO farmsync_agent;

GRANT SELECT ON farmsync.* TO farmsync_datasrv;
GRANT EXECUTE ON PROCEDURE farmsync.promote TO farmsync_datasrv;
GRANT EXECUTE ON PROCEDURE farmsync.promote_image TO farmsync_datasrv;
GRANT EXECUTE ON PROCEDURE farmsync.promote_done TO farmsync_datasrv;
GRANT EXECUTE ON PROCEDURE farmsync.promote_failed TO farmsync_datasrv;
GRANT EXECUTE ON PROCEDURE farmsync.report_members TO farmsync_datasrv;
GRANT EXECUTE ON PROCEDURE farmsync.decide TO farmsync_datasrv;
GRANT EXECUTE ON PROCEDURE farmsync.prune TO farmsync_datasrv;
GRANT EXECUTE ON PROCEDURE farmsync.notice_take TO farmsync_datasrv;
GRANT EXECUTE ON PROCEDURE farmsync.notice_told TO farmsync_datasrv;

GRANT SELECT ON farmsync.* TO farmsync_operator;
GRANT EXECUTE ON PROCEDURE farmsync.add_dataset TO farmsync_operator;
GRANT EXECUTE ON PROCEDURE farmsync.add_dataset_with TO farmsync_operator;
GRANT EXECUTE ON PROCEDURE farmsync.drop_dataset TO farmsync_operator;
GRANT EXECUTE ON PROCEDURE farmsync.show_triggers TO farmsync_operator;
GRANT EXECUTE ON PROCEDURE farmsync.show_pending TO farmsync_operator;
GRANT EXECUTE ON PROCEDURE farmsync.add_group TO farmsync_operator;
GRANT EXECUTE ON PROCEDURE farmsync.drop_group TO farmsync_operator;
GRANT EXECUTE ON PROCEDURE farmsync.set_interval TO farmsync_operator;
GRANT EXECUTE ON PROCEDURE farmsync.set_lead TO farmsync_operator;
GRANT EXECUTE ON PROCEDURE farmsync.set_keep_versions TO farmsync_operator;
GRANT EXECUTE ON PROCEDURE farmsync.set_keep_age TO farmsync_operator;
GRANT EXECUTE ON PROCEDURE farmsync.roll_back TO farmsync_operator;
GRANT EXECUTE ON PROCEDURE farmsync.pin TO farmsync_operator;
GRANT EXECUTE ON PROCEDURE farmsync.unpin TO farmsync_operator;
GRANT EXECUTE ON PROCEDURE farmsync.hold TO farmsync_operator;
GRANT EXECUTE ON PROCEDURE farmsync.resume TO farmsync_operator;
GRANT EXECUTE ON PROCEDURE farmsync.activate_now TO farmsync_operator;
GRANT EXECUTE ON PROCEDURE farmsync.activate_at TO farmsync_operator;
GRANT EXECUTE ON PROCEDURE farmsync.forget_member TO farmsync_operator;
GRANT EXECUTE ON PROCEDURE farmsync.add_check TO farmsync_operator;
GRANT EXECUTE ON PROCEDURE farmsync.add_reference TO farmsync_operator;
GRANT EXECUTE ON PROCEDURE farmsync.drop_check TO farmsync_operator;
GRANT EXECUTE ON PROCEDURE farmsync.set_limits TO farmsync_operator;
GRANT EXECUTE ON PROCEDURE farmsync.allow_once TO farmsync_operator;
GRANT EXECUTE ON PROCEDURE farmsync.dry_run TO farmsync_operator;
GRANT EXECUTE ON PROCEDURE farmsync.show_difference TO farmsync_operator;
GRANT EXECUTE ON PROCEDURE farmsync.request_approval TO farmsync_operator;
GRANT EXECUTE ON PROCEDURE farmsync.approve TO farmsync_operator;
GRANT EXECUTE ON PROCEDURE farmsync.reject TO farmsync_operator;
-- Not set_approval: who may switch it off needs nobody's approval.
GRANT EXECUTE ON PROCEDURE farmsync.set_ready TO farmsync_operator;
GRANT EXECUTE ON PROCEDURE farmsync.app_down TO farmsync_operator;
GRANT EXECUTE ON PROCEDURE farmsync.app_down_with TO farmsync_operator;
GRANT EXECUTE ON PROCEDURE farmsync.app_up TO farmsync_operator;
GRANT EXECUTE ON PROCEDURE farmsync.app_up_with TO farmsync_operator;
