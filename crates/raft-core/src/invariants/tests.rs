//! Every invariant broken by hand, each with its sentence, and the legal states right beside them.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

use super::*;
use crate::outbox::Outbox;
use crate::role::Transition;
use crate::state::Common;
use crate::{
    ApplyJob, Ballot, Follower, Incarnation, Log, Member, Membership, Payload, RaftConfig,
    Restored, SnapshotId, SnapshotMeta,
};

fn n(id: u64) -> NodeId {
    NodeId::new(id).unwrap()
}

fn at(index: u64, term: u64) -> EntryId {
    EntryId::new(Term::new(term), Index::new(index))
}

fn voters(ids: &[u64]) -> Membership {
    Membership::bootstrap(ids.iter().map(|id| (n(*id), Member::default())).collect())
}

/// Five entries of term 2, four of them committed, on a disk that knows term 3.
fn disk() -> Restored {
    let commit = Index::new(4);
    Restored {
        hard_state: HardState { term: Term::new(3), voted_for: None, commit },
        created: Some(voters(&[1, 2, 3])),
        terms: vec![(Index::new(1), Term::new(2))],
        last: at(5, 2),
        ..Restored::default()
    }
}

/// The same disk with nothing but a snapshot of everything.
fn disk_with_snapshot() -> Restored {
    let mut disk = disk();
    disk.snapshot = Some(snapshot(5));
    (disk.base, disk.terms) = (disk.last, Vec::new());
    disk.hard_state.commit = disk.last.index;
    disk
}

fn snapshot(covered: u64) -> SnapshotMeta {
    let (id, last_included) = (SnapshotId::default(), at(covered, 2));
    SnapshotMeta { id, last_included, membership: voters(&[1, 2, 3]), data_bytes: 0 }
}

/// Node 1 as it starts with a disk, which nobody validated.
fn started(disk: Restored) -> RaftState {
    let config = RaftConfig::new(1, vec![2, 3]);
    let mut common = Common::new(config, Incarnation::new(7), disk);
    let role = Role::Follower(Follower::at_start(&mut common));
    RaftState { common, role }
}

fn enter(state: &mut RaftState, transition: Transition) {
    let (common, role) = state.split();
    let next = role.enter(transition, common, &mut Outbox::default());
    assert_eq!(next, Transition::Stay);
}

/// Node 1 in a campaign for term 4.
fn candidate() -> RaftState {
    let mut state = started(disk());
    enter(&mut state, Transition::Campaign(Ballot::Vote));
    state
}

/// Node 1 as the leader of term 4, its no-op at index 6.
fn leader() -> RaftState {
    let mut state = candidate();
    enter(&mut state, Transition::Lead);
    state
}

/// Every role passes, on its way from one to the next.
#[test]
fn a_node_is_sound_in_every_role() {
    let mut state = started(disk());
    check(&state);
    for following in [None, Some(n(2)), Some(n(3))] {
        enter(&mut state, Transition::Follow { leader: following });
        check(&state);
    }
    enter(&mut state, Transition::Campaign(Ballot::PreVote));
    check(&state);
    check(&candidate());
    check(&leader());
}

/// Base, durable, committed, applied and last entry, and all terms, may be the same: everything is
/// done.
#[test]
fn a_node_at_rest_is_sound() {
    let mut disk = disk_with_snapshot();
    disk.hard_state.term = disk.last.term;
    let state = started(disk);
    check(&state);
    let (common, last) = (&state.common, Index::new(5));
    let marks = [common.log.base().index, common.log.durable(), common.last_applied()];
    assert_eq!((marks, common.commit_index()), ([last; 3], last));
    assert_eq!((common.log.last(), common.term()), (at(5, 2), Term::new(2)));
    // A blank disk, likewise, at zero.
    check(&started(Restored::default()));
}

/// Everything that may differ does: one entry is compacted, more are applied, committed, durable
/// and appended, in this order, and the term is later than all of them.
#[test]
fn a_node_at_work_is_sound() {
    let mut disk = disk();
    (disk.base, disk.snapshot) = (at(1, 2), Some(snapshot(2)));
    disk.terms = vec![(Index::new(2), Term::new(2))];
    let mut state = started(disk);
    let payload = Payload::no_op();
    state.common.log.append(Term::new(2), payload, None);
    check(&state);
    let (common, log) = (&state.common, &state.common.log);
    let marks = [log.base().index, common.last_applied(), common.commit_index(), log.durable()];
    assert_eq!(marks, [1, 2, 4, 5].map(Index::new));
    assert_eq!((log.last(), common.term()), (at(6, 2), Term::new(3)));
}

/// What is not in the log cannot be committed.
#[test]
#[should_panic(expected = "commit_index lies inside the log")]
fn a_commit_index_beyond_the_log_is_noticed() {
    let mut disk = disk();
    disk.hard_state.commit = Index::new(6);
    check(&started(disk));
}

/// What is compacted is gone, so it must have been committed.
#[test]
#[should_panic(expected = "only what is committed is compacted")]
fn a_base_above_the_commit_index_is_noticed() {
    let mut disk = disk();
    (disk.base, disk.terms) = (disk.last, Vec::new());
    check(&started(disk));
}

/// What is applied cannot be taken back, so it must have been committed.
#[test]
#[should_panic(expected = "only what is committed is applied")]
fn an_applied_entry_above_the_commit_index_is_noticed() {
    let mut state = started(disk());
    state.common.compaction.must_restore(snapshot(5));
    let Some(ApplyJob::Restore(restore)) = state.common.take_apply(&mut Outbox::default()) else {
        unreachable!("a snapshot that was installed is restored first");
    };
    state.common.finish_apply(restore.into_applied());
    check(&state);
}

/// §5.1: who holds an entry of a term has seen that term.
#[test]
#[should_panic(expected = "no entry is of a later term than the node")]
fn an_entry_of_a_later_term_is_noticed() {
    let mut disk = disk();
    disk.hard_state.term = Term::new(1);
    check(&started(disk));
}

/// A term is in memory before it is on the disk, and never falls.
#[test]
#[should_panic(expected = "the disk does not know a later term than memory")]
fn a_disk_that_knows_more_than_memory_is_noticed() {
    let mut state = started(disk());
    state.common.overwrite(Term::new(2), None);
    check(&state);
}

/// §5.2: a candidate votes for itself, and the vote lasts as long as the term.
#[test]
#[should_panic(expected = "a leader voted for itself")]
fn a_leader_that_voted_for_another_is_noticed() {
    let mut state = leader();
    state.common.overwrite(state.common.term(), Some(n(2)));
    check(&state);
}

/// The same for a leader that remembers no vote at all.
#[test]
#[should_panic(expected = "a leader voted for itself")]
fn a_leader_that_voted_for_nobody_is_noticed() {
    let mut state = leader();
    state.common.overwrite(state.common.term(), None);
    check(&state);
}

/// Thesis §4.2.2: a leader that is removed leads until the change is committed.
#[test]
fn a_leader_may_see_its_own_removal_through() {
    let mut state = leader();
    state.common.membership = voters(&[2, 3]).brought_by(at(5, 2));
    assert!(state.common.commit_index() < Index::new(5));
    check(&state);
}

/// Thesis §4.2.2: once its removal is committed a leader leads no more.
#[test]
#[should_panic(expected = "a leader is a voter, or on its way out")]
fn a_leader_whose_removal_is_committed_is_noticed() {
    let mut state = leader();
    state.common.membership = voters(&[2, 3]).brought_by(at(4, 2));
    assert_eq!(state.common.commit_index(), Index::new(4));
    check(&state);
}

/// Thesis §4.2.2: who is a voter no more by a change that is not committed may have to bring it
/// about.
#[test]
fn a_candidate_may_be_about_to_lose_its_vote() {
    let mut state = candidate();
    state.common.membership = voters(&[2, 3]).brought_by(at(5, 2));
    check(&state);
}

/// Who never had a vote does not ask for votes.
#[test]
#[should_panic(expected = "a candidate is or was a voter")]
fn a_candidate_that_never_was_a_voter_is_noticed() {
    let mut state = candidate();
    let others = Restored { created: Some(voters(&[2, 3])), ..disk() };
    state.common.log = Log::new(others, None);
    state.common.membership = state.common.log.membership();
    check(&state);
}

/// Another disk than the recorded one does not know what that one promised.
#[test]
#[should_panic(expected = "a candidate is or was a voter")]
fn a_candidate_with_another_disk_than_the_recorded_is_noticed() {
    let mut state = candidate();
    let recorded = Member { incarnation: Some(Incarnation::new(8)), ..Member::default() };
    state.common.membership = Membership::bootstrap(BTreeMap::from([(n(1), recorded)]));
    check(&state);
}

/// A follower hears another node, or nobody.
#[test]
#[should_panic(expected = "nobody follows himself")]
fn a_follower_of_itself_is_noticed() {
    let mut state = started(disk());
    enter(&mut state, Transition::Follow { leader: Some(n(1)) });
    check(&state);
}

/// A follower of node 2 in term 5.
fn follower() -> Snapshot {
    let hard = HardState { term: Term::new(5), voted_for: Some(n(2)), commit: Index::new(4) };
    Snapshot {
        hard,
        commit_index: Index::new(4),
        last_applied: Index::new(3),
        last: at(6, 5),
        role: RoleName::Follower,
        leader: Some(n(2)),
    }
}

fn leading() -> Snapshot {
    let hard = HardState { voted_for: Some(n(1)), ..follower().hard };
    Snapshot { hard, role: RoleName::Leader, leader: Some(n(1)), ..follower() }
}

/// The same in the next term.
fn later(snapshot: &Snapshot) -> Snapshot {
    let hard = HardState { term: snapshot.hard.term.next(), ..snapshot.hard };
    Snapshot { hard, ..*snapshot }
}

fn voted(snapshot: &Snapshot, voted_for: Option<NodeId>) -> Snapshot {
    Snapshot { hard: HardState { voted_for, ..snapshot.hard }, ..*snapshot }
}

/// A snapshot takes what is compared with later ones, and tells term, role and leader.
#[test]
fn a_snapshot_shows_the_state_it_was_taken_of() {
    let shown = Snapshot::of(&started(disk_with_snapshot()));
    assert_eq!(shown.hard, disk_with_snapshot().hard_state);
    assert_eq!((shown.commit_index, shown.last_applied), (Index::new(5), Index::new(5)));
    assert_eq!((shown.last, shown.told()), (at(5, 2), (Term::new(3), RoleName::Follower, None)));

    let shown = Snapshot::of(&leader());
    assert_eq!((shown.last, shown.hard.voted_for), (at(6, 4), Some(n(1))));
    assert_eq!((shown.commit_index, shown.last_applied), (Index::new(4), Index::ZERO));
    assert_eq!(shown.told(), (Term::new(4), RoleName::Leader, Some(n(1))));
}

/// A step that changes nothing is sound, and so is one by which everything grows.
#[test]
fn steps_may_stand_still_or_go_forward() {
    for before in [follower(), leading()] {
        check_step(&before, &before);
        let after = Snapshot {
            commit_index: Index::new(5),
            last_applied: Index::new(5),
            last: at(7, 5),
            ..before
        };
        check_step(&before, &after);
    }
}

/// §5.1: the term never falls.
#[test]
#[should_panic(expected = "terms only grow")]
fn a_term_that_falls_is_noticed() {
    check_step(&later(&follower()), &follower());
}

/// What is committed stays committed, in a later term too.
#[test]
#[should_panic(expected = "commit_index only grows")]
fn a_commit_index_that_falls_is_noticed() {
    check_step(&follower(), &later(&Snapshot { commit_index: Index::new(3), ..follower() }));
}

/// What is applied stays applied, in a later term too.
#[test]
#[should_panic(expected = "last_applied only grows")]
fn an_applied_index_that_falls_is_noticed() {
    check_step(&follower(), &later(&Snapshot { last_applied: Index::new(2), ..follower() }));
}

/// §5.1, §5.3: a new term brings a new vote, another leader, and may cut the log, of a leader of
/// the term before too, as long as it leads no more.
#[test]
fn a_new_term_begins_with_a_clean_slate() {
    let other = voted(&later(&follower()), Some(n(3)));
    let other = Snapshot { leader: Some(n(3)), last: at(5, 5), ..other };
    for before in [follower(), leading()] {
        check_step(&before, &later(&voted(&before, None)));
        check_step(&before, &other);
    }
}

/// §5.2: a vote is given once a term. To give it is sound, to keep it too.
#[test]
fn a_vote_may_be_given() {
    let nobody = voted(&follower(), None);
    check_step(&nobody, &nobody);
    check_step(&nobody, &voted(&nobody, Some(n(2))));
}

/// §5.2: a vote given is not given to another in the same term.
#[test]
#[should_panic(expected = "a vote is taken back only by a new term")]
fn a_vote_for_another_in_the_same_term_is_noticed() {
    check_step(&follower(), &voted(&follower(), Some(n(3))));
}

/// §5.2: a vote given is not forgotten in the same term.
#[test]
#[should_panic(expected = "a vote is taken back only by a new term")]
fn a_vote_that_is_forgotten_is_noticed() {
    check_step(&follower(), &voted(&follower(), None));
}

/// §5.3, Figure 3, Leader Append-Only: a leader never overwrites or deletes entries in its log.
#[test]
#[should_panic(expected = "a leader only appends (Leader Append-Only)")]
fn a_leader_whose_log_is_cut_is_noticed() {
    check_step(&leading(), &Snapshot { last: at(5, 5), ..leading() });
}

/// Leader Append-Only binds who leads before and after the step: the log of a follower is cut when
/// it differs, and so it is said of nobody else.
#[test]
fn only_a_leader_must_not_lose_entries() {
    let cut = |snapshot: Snapshot| Snapshot { last: at(5, 5), ..snapshot };
    let retired = Snapshot { role: RoleName::Follower, leader: None, ..leading() };
    check_step(&follower(), &cut(follower()));
    check_step(&leading(), &cut(retired));
    check_step(&retired, &cut(leading()));
}

/// A term without a known leader may get to know one, and a leader may step down within its term.
#[test]
fn a_leader_may_become_known_and_unknown() {
    let nobody = Snapshot { leader: None, ..follower() };
    check_step(&nobody, &nobody);
    check_step(&nobody, &follower());
    check_step(&follower(), &nobody);
}

/// §5.2, Figure 3, Election Safety: at most one leader can be elected in a given term.
#[test]
#[should_panic(expected = "a term has one leader (Election Safety)")]
fn a_second_leader_of_a_term_is_noticed() {
    check_step(&follower(), &Snapshot { leader: Some(n(3)), ..follower() });
}
