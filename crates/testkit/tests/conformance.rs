//! Every promise of the bus on every bus: see `testkit::conformance`.

use testkit::conformance::{beds, failures, groups, log};

macro_rules! on_every_bed {
    ($($module:ident :: $promise:ident),+ $(,)?) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $promise() {
            for bed in beds().await {
                $module::$promise(bed).await;
            }
        }
    )+};
}

on_every_bed!(
    log::positions_have_no_gaps_under_concurrent_and_rolled_back_units,
    log::a_rolled_back_savepoint_drops_its_events,
    log::several_sequencers_leave_no_gap_and_no_inversion,
    log::retention_never_passes_a_slow_group,
    groups::every_group_gets_all_in_the_order_of_each_key,
    groups::members_of_a_group_share,
    groups::members_that_join_leave_and_die_lose_and_repeat_nothing,
    groups::a_crash_at_any_point_repeats_no_effect,
    groups::a_frozen_member_changes_nothing_once_thawed,
    groups::a_reset_rebuilds_while_members_run,
    groups::a_gap_is_repaired_from_the_log_and_raises_the_alarm,
    failures::a_failing_key_is_parked_in_order_and_replayed_in_order,
    failures::a_discarded_dead_letter_frees_what_is_parked,
    failures::a_sink_that_is_away_only_pauses,
    failures::a_panic_is_a_failure_of_its_event,
    failures::an_event_that_kills_the_process_comes_to_an_end,
);
