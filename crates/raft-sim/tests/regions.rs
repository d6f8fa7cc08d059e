//! Five nodes over three regions: where nothing breaks, one leader stays.

use raft_core::InMemoryStateMachine;
use raft_sim::coverage::Fault;
use raft_sim::model::MapModel;
use raft_sim::{Config, Plan, Registers, check, run};

fn plan() -> Plan<InMemoryStateMachine> {
    Plan::new(InMemoryStateMachine::new, Registers::default()).model(MapModel).regions()
}

/// Ways that are longer in one direction, and two regions that reach only the third, cost no leader
/// its office (thesis §4.2.3 and §9.6).
#[test]
fn one_leader_stays_over_three_regions() {
    check(&Config { seeds: 40, ..Config::default() }, &plan());
}

/// The same worlds in which nodes are isolated: their oracle notices who leads next.
#[test]
fn an_isolated_leader_is_missed() {
    let config = Config { seeds: 40, ..Config::default() };
    let summary = run(&config, &plan().faults(&[Fault::Isolate]), &|_| {});
    let missed = |failure: &raft_sim::Failure| failure.oracle.starts_with("one stable leader");
    assert!(summary.failures.iter().any(|(_, failure)| missed(failure)), "{summary}");
}
