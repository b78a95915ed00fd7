//! Every promise of the bus on every bus: see `testkit::conformance`.

use messaging::RefusedKey;
use testkit::PgServer;
use testkit::conformance::{
    bed_on, beds, beds_on_kafka, beds_on_the_log, epochs, failures, groups, leases, log, partitions, refused,
};

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
    log::units_of_several_processes_leave_no_gap_and_no_inversion,
    log::units_that_are_cut_off_leave_no_gap,
    log::nothing_deadlocks,
    log::a_unit_that_is_frozen_with_its_numbers_is_cut_off,
    log::a_long_dump_costs_numbering_nothing,
    log::events_that_nobody_told_of_are_handled,
    log::the_mark_of_what_was_relayed_outlives_the_relay,
    log::retention_never_passes_a_slow_group,
    log::a_long_log_is_cut_to_its_end,
    log::the_view_of_an_event_follows_its_groups,
    groups::every_group_gets_all_in_the_order_of_each_key,
    groups::members_of_a_group_share,
    groups::members_that_join_leave_and_die_lose_and_repeat_nothing,
    groups::a_crash_at_any_point_repeats_no_effect,
    groups::a_frozen_member_changes_nothing_once_thawed,
    groups::a_reset_rebuilds_while_members_run,
    groups::a_reset_brings_back_what_is_dead_and_parked,
    groups::a_gap_is_repaired_from_the_log_and_raises_the_alarm,
    groups::a_gap_larger_than_a_batch_is_repaired,
    groups::a_bus_that_is_late_raises_no_alarm,
    groups::a_group_that_starts_now_misses_nothing_from_then_on,
    partitions::a_topic_gains_partitions_under_load,
    partitions::what_was_numbered_later_waits_for_what_was_before,
    partitions::a_dead_letter_holds_its_key_in_every_partition,
    leases::no_member_goes_without_while_another_has_two_more,
    leases::leases_are_renewed_while_a_partition_is_let_go,
    leases::the_dead_are_forgotten,
    failures::a_failing_key_is_parked_in_order_and_replayed_in_order,
    failures::a_discarded_dead_letter_frees_what_is_parked,
    failures::a_parked_event_has_its_tries_when_it_is_resumed,
    failures::a_sink_that_is_away_only_pauses,
    failures::a_sink_that_is_away_beside_a_dead_letter_only_pauses,
    failures::a_database_that_fails_for_all_makes_no_dead_letter,
    failures::an_event_that_alone_keeps_failing_is_a_dead_letter,
    failures::locks_and_cancelled_statements_make_no_dead_letter,
    failures::a_panic_is_a_failure_of_its_event,
    failures::a_panic_of_an_effect_is_a_failure_of_its_event,
    failures::an_event_that_kills_the_process_comes_to_an_end,
    failures::an_event_that_kills_after_a_pause_comes_to_an_end,
    failures::a_replay_that_kills_the_process_comes_to_an_end,
    failures::a_late_member_replays_nothing,
    failures::a_replay_that_a_crash_has_undone_comes_first,
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_language_of_the_server_makes_dead_letters() {
    let server = tokio::task::spawn_blocking(|| PgServer::start_speaking("ko")).await.expect("no panic");
    let Some(server) = server else { return };
    failures::locks_and_cancelled_statements_make_no_dead_letter(bed_on(&server).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_event_is_set_aside_and_its_key_waits() {
    for bed in beds_on_kafka(RefusedKey::Waits).await {
        refused::a_refused_event_is_set_aside_and_its_key_waits(bed).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_event_is_set_aside_and_its_key_goes_on() {
    for bed in beds_on_kafka(RefusedKey::GoesOn).await {
        refused::a_refused_event_is_set_aside_and_its_key_goes_on(bed).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_of_many_partitions_is_numbered() {
    for bed in beds_on_the_log(400).await {
        log::a_topic_of_many_partitions_is_numbered(bed).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_start_together_make_one_log() {
    log::processes_that_start_together_make_one_log().await;
}

macro_rules! on_every_stage {
    ($($promise:ident),+ $(,)?) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $promise() {
            for stage in epochs::stages().await {
                epochs::$promise(stage).await;
            }
        }
    )+};
}

on_every_stage!(
    a_file_that_is_copied_back_loses_events,
    a_database_that_is_made_of_a_template_loses_events,
    a_restore_that_the_life_does_not_show_is_noticed,
    a_dump_that_is_restored_loses_events,
    a_dump_that_is_restored_under_a_process_loses_events,
    two_primaries_at_once_lose_the_events_of_one,
    a_failover_to_a_lagging_standby_loses_events,
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unit_runs_again_when_the_log_has_a_new_epoch() {
    epochs::a_unit_runs_again_when_the_log_has_a_new_epoch().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_has_not_heard_of_an_epoch_handles_nothing_that_was_lost() {
    epochs::a_process_that_has_not_heard_of_an_epoch_handles_nothing_that_was_lost().await;
}
