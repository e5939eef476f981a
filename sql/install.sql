-- SPDX-License-Identifier: Apache-2.0
-- Installs farmsync, or brings its procedures and views up to date and keeps all data:
--   cd <this directory> && mariadb < install.sql        (or: mysql < install.sql)
-- as an account that may create databases, accounts and definer-rights procedures.
SOURCE schema.sql
SOURCE procedures.sql
SOURCE views.sql
SOURCE grants.sql

-- The client goes on after an error in a file that it is told to SOURCE, so what must be there is counted.
USE farmsync;
DROP PROCEDURE IF EXISTS check_installed;
DELIMITER //
CREATE PROCEDURE check_installed(IN p_procedures TEXT, IN p_views TEXT)
  READS SQL DATA
BEGIN
  DECLARE v_found, v_wanted INT;
  SELECT COUNT(*) INTO v_found FROM information_schema.routines
   WHERE routine_schema = 'farmsync' AND FIND_IN_SET(routine_name, p_procedures) > 0;
  SELECT v_found + COUNT(*) INTO v_found FROM information_schema.views
   WHERE table_schema = 'farmsync' AND FIND_IN_SET(table_name, p_views) > 0;
  SET v_wanted = 2 + CHAR_LENGTH(CONCAT(p_procedures, p_views))
                 - CHAR_LENGTH(REPLACE(CONCAT(p_procedures, p_views), ',', ''));
  IF v_found <> v_wanted THEN
    SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT =
      'FS1060: farmsync is not installed completely; correct what the errors above name, then run install.sql again';
  END IF;
END //
DELIMITER ;
CALL check_installed(CONCAT(
    'fail,take_whole,run_sql,true_time,note,need_group,take_group,next_activation,activation_after,promote_check,',
    'promote_read,promote_apply,promote_work,promote,promote_image,promote_done,promote_failed,report_members,',
    'trigger_bodies,trigger_sql,show_triggers,drop_triggers,find_changes,make_triggers,check_change_options,',
    'schedule_columns,count_schedules,check_schedule_options,take_schedule_column,take_schedule,plan_schedule,refuse_double,',
    'check_schedule_key,check_doubles,schedule_moments,due_change,promote_time,put_off,look_ahead,look_ahead_if_readable,',
    'pending_time,not_before_due,late_changes,count_scheduled,make_scheduled,',
    'take_changes,plan_changes,changes_seen,forget_member,purge_dataset,prune,parse_source,check_source,mark_keys,take_columns,',
    'check_key,add_dataset_work,make_pending,make_views,add_dataset,add_dataset_with,',
    'undo_dataset,drop_dataset,show_pending,add_group,drop_group,set_interval,set_lead,',
    'return_dataset,return_work,return_keep,return_ordered,return_now,return_session,roll_back,pin,unpin,',
    'ready_times,ready_stage,ready_waits,ready_count,ready_go,ready_note,ready_act,decide,ready_again,set_ready,',
    'need_dataset,parse_rule,key_as_json,count_wrong,check_rows,evaluate_check,limits_of,evaluate_limits,evaluate_checks,',
    'first_failed,promote_checks,need_check_name,enter_check,add_check,add_reference,drop_check,set_limits,allow_once,',
    'datasets_moved,compare_in_full,pending_digest,account_name,promote_gate,set_approval,need_approval,request_approval,',
    'approve,reject,try_promotion,session_for_promotion,session_back,dry_run,difference_sql,need_version,show_difference,',
    'set_keep_age,oldest_kept,set_keep_versions,hold,resume,need_running,activate_now,activate_at,',
    'need_application,order_notice,app_down,app_down_with,app_up,app_up_with,notice_take,notice_told'),
    'column_sql,datasets,sync_us,readiness,cycle,farm,versions,checks,approval,notices,pending,scheduled');
DROP PROCEDURE check_installed;
