//! With all rules on, every property holds; with one rule off, the checker finds a counterexample.

use model::{Report, Rule, SMALL, Scenario, check};

/// Scenario in which the checker finds the counterexample of the rule.
const fn counterexample(rule: Rule) -> &'static str {
    match rule {
        Rule::AnswerAfterFlush
        | Rule::RepeatAfterFlush
        | Rule::FlushOfSameLife
        | Rule::EndAfterFlush
        | Rule::FlushBeforePolledEnd
        | Rule::EndReadBeforeFlush
        | Rule::MarkIsAcknowledged => "flush",
        Rule::EndsCarryEpoch => "two crashes",
        Rule::LogLifeOpensEpoch
        | Rule::EpochOfRow
        | Rule::DropOrphans
        | Rule::RelayResumes
        | Rule::MarkOfSameEpoch
        | Rule::LateAcknowledgements => "failover",
        Rule::UniqueEpochs => "lost epoch",
        Rule::EpochOfLockedRow | Rule::RecoveryIsUnavailable => "connections",
        Rule::OwnershipInUnit | Rule::RecordBeyondEndOpensEpoch => "unseen restore",
        Rule::ConditionalOffset | Rule::NeverSkip => "members",
        Rule::PartitionsOfLockedRow | Rule::BarrierOfNewPartition | Rule::BarrierInUnit => "repartitioning",
        Rule::BarrierOfOldPartition => "old partitions",
        Rule::NewPartitionHasEpoch => "lost repartitioning",
        Rule::LeaseToHandle | Rule::LeaseBeforeEffect | Rule::OffsetAfterEffect => "leases",
        Rule::FlushBeforeEffect => "effects and a crash",
        Rule::OwnershipBeforeEffect => "effects and a failover",
        Rule::SetAsideIsStored | Rule::SetAsideIsFlushed | Rule::SetAsideKeyWaits | Rule::GapRepair => "set aside",
        Rule::DeadLetterWithOffset | Rule::ParkBehindDeadLetter | Rule::ReplayDeletesRow | Rule::ReplayInOrder => {
            "dead letters"
        }
        Rule::ParkingInUnit => "lost replay",
        Rule::PurgeStopsAtOffset | Rule::PurgeStopsAtMark | Rule::PurgeKeepsLast => "purge",
        Rule::OnePosition => "change of the bus",
    }
}

/// Prints the reports and returns the names with a report that is not as expected.
fn unexpected<'a>(reports: impl Iterator<Item = (&'a str, Report)>, holds: bool) -> Vec<&'a str> {
    let print = |(name, report): &(&str, Report)| println!("{name}: {report}");
    reports.inspect(print).filter(|(_, report)| report.holds() != holds).map(|(name, _)| name).collect()
}

#[test]
fn every_property_holds_with_all_rules() {
    let reports = SMALL.iter().map(|scenario| (scenario.name, check(scenario, 1)));
    assert_eq!(unexpected(reports, true), [""; 0]);
}

#[test]
fn every_rule_has_a_counterexample() {
    let reports = Rule::ALL.iter().map(|rule| {
        let scenario = SMALL.iter().find(|scenario| scenario.name == counterexample(*rule)).unwrap();
        (rule.name(), check(&Scenario { off: Some(*rule), ..scenario.clone() }, 1))
    });
    assert_eq!(unexpected(reports, false), [""; 0]);
}
