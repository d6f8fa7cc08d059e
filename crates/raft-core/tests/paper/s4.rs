//! §6 and thesis §4, membership changes: joint consensus, learners, and who may change what when.
//!
//! Read next: `s7.rs`.

use raft_core::{
    Body, Change, ChangeError, ChangeRequest, Membership, Message, NodeId, Notice, Payload,
    Promotion, RoleName, Ticket,
};

use crate::bench::{
    Bench, add_learner, append, append_all, at, granted, members, n, no_op_for, remove, to,
    vote_for_me, vote_in,
};

fn ids(nodes: impl IntoIterator<Item = u64>) -> Vec<NodeId> {
    nodes.into_iter().map(n).collect()
}

fn voters(membership: &Membership) -> Vec<NodeId> {
    membership.voters().iter().copied().collect()
}

fn outgoing(membership: &Membership) -> Vec<NodeId> {
    membership.outgoing().iter().copied().collect()
}

/// A leader of three to whom everybody answers what it is sent.
fn change(leader: &mut Bench, request: &ChangeRequest) -> Vec<Message> {
    leader
        .raft
        .change_membership(leader.now, request, Ticket::new(77))
        .expect("nothing is against it");
    leader.settle()
}

/// The transition goes through a joint membership, which combines the old and the new one.
#[test]
fn s6_a_change_of_voters_begins_with_the_joint_membership() {
    let mut leader = Bench::leading(3);
    change(&mut leader, &remove(3));
    let joint = leader.status().membership;
    assert!(joint.is_joint());
    assert_eq!(voters(&joint), ids([1, 2]));
    assert_eq!(outgoing(&joint), ids([1, 2, 3]));
    assert_eq!(joint.id(), at(2, 1));
}

/// Log entries are replicated to all servers in both memberships.
#[test]
fn s6_entries_go_to_the_servers_of_both_memberships() {
    let mut leader = Bench::leading(3);
    change(&mut leader, &remove(3));
    let sent = leader.propose("x", 1);
    assert_eq!((to(&sent, 2).len(), to(&sent, 3).len()), (1, 1));
}

/// Any server of either membership may serve as leader.
#[test]
fn s6_a_server_of_either_membership_may_campaign() {
    // n1 leaves, and is still in the old half.
    let joint = members(&[2, 3], &[1, 2, 3], &[]);
    let mut node = Bench::in_membership(joint, 1, &[1]);
    let asked = node.times_out();
    assert_eq!((node.role(), asked.len()), (RoleName::Candidate, 2));
}

/// Agreement, for elections and for commitment, requires separate majorities of both memberships.
#[test]
fn s6_a_joint_election_needs_a_majority_of_each() {
    for (granting, wins) in [
        (vec![4, 5], false),
        (vec![2, 3], false),
        (vec![2], false),
        (vec![2, 4], true),
        (vec![3, 5], true),
    ] {
        let joint = members(&[1, 4, 5], &[1, 2, 3], &[]);
        let mut node = Bench::in_membership(joint, 1, &[1]);
        let asked = node.times_out();
        for from in &granting {
            node.hears_answer(to(&asked, *from)[0], granted());
        }
        assert_eq!(node.role() == RoleName::Leader, wins, "with the votes of {granting:?}");
    }
}

/// The same for commitment.
#[test]
fn s6_a_joint_commitment_needs_a_majority_of_each() {
    for (holding, commits) in
        [(vec![4, 5], false), (vec![2, 3], false), (vec![2, 4], true), (vec![3, 5], true)]
    {
        let joint = members(&[1, 4, 5], &[1, 2, 3], &[]);
        let mut leader = Bench::in_membership(joint, 1, &[1]);
        let sent = leader.wins();
        for from in &holding {
            leader.hears_matched(&no_op_for(&sent, *from));
        }
        assert_eq!(leader.commit() >= 2, commits, "durable at {holding:?}");
    }
}

/// A server uses the latest membership in its log, whether it is committed or not.
#[test]
fn s6_a_server_uses_the_latest_membership_in_its_log() {
    let mut node = Bench::with_log(3, 1, &[1]);
    let next = members(&[1, 2, 3, 4], &[], &[]);
    let payload = Payload::membership(&next);
    node.hears(2, 1, append_all(at(1, 1), vec![(1, payload)], 0));
    assert_eq!(node.commit(), 0, "nobody said that it is committed");
    assert_eq!(voters(&node.status().membership), ids([1, 2, 3, 4]));
    assert_eq!(node.status().membership.id(), at(2, 1));
}

/// When such an entry is cut away, the membership before it is in force again; two as well as one.
#[test]
fn s6_memberships_are_cut_together_with_their_entries() {
    let mut node = Bench::with_log(3, 1, &[1]);
    let [one, two] = [members(&[1, 2, 3, 4], &[], &[]), members(&[1, 2, 3, 4, 5], &[], &[])];
    let stacked = [one.clone(), two].map(|membership| (1, Payload::membership(&membership)));
    node.hears(2, 1, append_all(at(1, 1), stacked.to_vec(), 0));
    assert_eq!(voters(&node.status().membership), ids([1, 2, 3, 4, 5]));

    // The upper one alone.
    let mut other = Bench::with_log(3, 1, &[1]);
    other.hears(2, 1, append_all(at(1, 1), stacked.to_vec(), 0));
    other.hears(3, 2, append(at(2, 1), &[2], 0));
    assert_eq!(voters(&other.status().membership), ids([1, 2, 3, 4]));
    assert_eq!(other.status().membership, one.brought_by(at(2, 1)));

    // Both at once.
    node.hears(3, 2, append(at(1, 1), &[2, 2, 2], 0));
    assert_eq!(node.status().membership, members(&[1, 2, 3], &[], &[]));
    node.crash_and_restart();
    assert_eq!(node.status().membership, members(&[1, 2, 3], &[], &[]), "the disk agrees");
}

/// Once the joint membership is committed, the leader creates the new one.
#[test]
fn s6_the_leader_leaves_the_joint_membership_when_it_is_committed() {
    let mut leader = Bench::leading(3);
    let sent = change(&mut leader, &remove(3));
    assert!(leader.status().membership.is_joint());
    leader.hears_matched(to(&sent, 2)[0]);
    let next = leader.status().membership;
    assert!(!next.is_joint());
    assert_eq!((voters(&next), next.id()), (ids([1, 2]), at(3, 1)));
    assert_eq!(next.members().len(), 2, "who is removed is no member");
}

/// The new membership is replicated under its own rules; then the old one is irrelevant.
#[test]
fn s6_the_new_membership_is_committed_by_itself_alone() {
    let mut leader = Bench::leading(3);
    let sent = change(&mut leader, &remove(3));
    let sent = leader.hears_matched(to(&sent, 2)[0]);
    let committed = |bench: &Bench| {
        bench.notices.iter().any(|notice| {
            matches!(notice, Notice::MembershipCommitted { membership } if !membership.is_joint())
        })
    };
    leader.hears_matched(to(&sent, 3)[0]);
    assert!(!committed(&leader), "n3 counts no more");
    leader.hears_matched(to(&sent, 2)[0]);
    assert!(committed(&leader));
}

/// A leader of three that leaves: the joint membership is committed, the new one is not. Returns
/// what the leader sent last.
fn leaving() -> (Bench, Vec<Message>) {
    let mut leader = Bench::leading(3);
    let sent = change(&mut leader, &remove(1));
    leader.hears_matched(to(&sent, 2)[0]);
    let sent = leader.hears_matched(to(&sent, 3)[0]);
    assert_eq!(leader.status().membership, members(&[2, 3], &[], &[]).brought_by(at(3, 1)));
    (leader, sent)
}

/// A leader that is not in the new membership steps down once that is committed, not before.
#[test]
fn s6_a_leader_outside_the_new_membership_steps_down_when_it_is_committed() {
    let (mut leader, sent) = leaving();
    assert_eq!((leader.commit(), leader.role()), (2, RoleName::Leader));
    leader.hears_matched(to(&sent, 2)[0]);
    let freed = leader.hears_matched(to(&sent, 3)[0]);
    assert_eq!((leader.commit(), leader.role()), (3, RoleName::Learner));
    assert!(freed.iter().any(|message| matches!(message.body, Body::TimeoutNow)), "{freed:?}");
}

/// While it manages a group that does not include itself, it does not count itself in majorities.
#[test]
fn s6_a_leader_outside_the_new_membership_does_not_count_itself() {
    let (mut leader, sent) = leaving();
    leader.hears_matched(to(&sent, 2)[0]);
    assert_eq!((leader.commit(), leader.role()), (2, RoleName::Leader), "n2 is one of two");
}

/// Servers disregard requests for votes when they believe that a leader exists.
#[test]
fn s6_a_removed_server_cannot_disrupt_the_group() {
    let mut node = Bench::with_log(3, 1, &[1]);
    node.hears(2, 1, append(at(1, 1), &[], 1));
    assert_eq!(vote_in(&node.hears(3, 9, vote_for_me(at(7, 8)))), Some(false));
    assert_eq!(node.term(), 1);
}

/// A new server joins as a non-voting member: it is sent the log and counts for nothing (§4.2.1).
#[test]
fn s4_2_1_a_new_server_receives_the_log_and_is_in_no_majority() {
    let mut leader = Bench::leading(3);
    let sent = change(&mut leader, &add_learner(4));
    assert!(!leader.status().membership.is_joint(), "nobody's vote changes");
    let learner = to(&sent, 4);
    leader.hears_matched(learner.last().expect("it is sent the log"));
    assert_eq!(leader.commit(), 1, "n1 and a learner are no majority");
    leader.hears_matched(to(&sent, 2)[0]);
    assert_eq!(leader.commit(), 2);
}

/// A non-voting member does not campaign, whoever asks it (§4.2.1).
#[test]
fn s4_2_1_a_learner_does_not_campaign() {
    let mut learner = Bench::in_membership(members(&[2, 3], &[], &[1]), 1, &[1]);
    learner.times_out();
    learner.raft.campaign(learner.now);
    learner.settle();
    learner.hears(2, 1, append(at(1, 1), &[], 1));
    learner.hears(2, 1, Body::TimeoutNow);
    assert_eq!((learner.role(), learner.term()), (RoleName::Learner, 1));
}

/// A server that is not in its own latest membership still votes: its log may be behind (§4.2.2).
#[test]
fn s4_2_2_a_server_outside_its_own_membership_still_grants_votes() {
    for membership in [members(&[2, 3], &[], &[1]), members(&[2, 3], &[], &[])] {
        let mut node = Bench::in_membership(membership, 1, &[1]);
        assert_eq!(vote_in(&node.hears(2, 2, vote_for_me(at(1, 1)))), Some(true));
    }
}

/// A server accepts AppendEntries of a leader that is not in its latest membership (§4.1).
#[test]
fn s4_1_a_server_accepts_entries_of_a_leader_outside_its_membership() {
    let mut node = Bench::with_log(3, 1, &[1]);
    node.hears(9, 1, append(at(1, 1), &[1], 1));
    assert_eq!(node.log(), [1, 1]);
    let mut blank = Bench::joining();
    blank.hears(9, 1, append(at(0, 0), &[1], 1));
    assert_eq!(blank.log(), [1], "otherwise nobody could ever be added");
}

/// A leader changes nothing before an entry of its term is committed (Ongaro's correction, 2015).
#[test]
fn s4_1_a_change_waits_for_the_first_commit_of_the_term() {
    let mut leader = Bench::new(3);
    let sent = leader.wins();
    let early = leader.raft.change_membership(leader.now, &add_learner(4), Ticket::new(1));
    assert_eq!(early, Err(ChangeError::NotReady));
    leader.hears_matched(&no_op_for(&sent, 2));
    let now = leader.raft.change_membership(leader.now, &add_learner(4), Ticket::new(2));
    assert_eq!(now, Ok(at(2, 1)));
}

/// One change at a time: the next may begin once the previous entry is committed (§4.1).
#[test]
fn s4_1_a_second_change_waits_for_the_first() {
    let mut leader = Bench::leading(3);
    let sent = change(&mut leader, &add_learner(4));
    let second = leader.raft.change_membership(leader.now, &add_learner(5), Ticket::new(1));
    assert_eq!(second, Err(ChangeError::InProgress { id: at(2, 1) }));
    leader.hears_matched(to(&sent, 2)[0]);
    let second = leader.raft.change_membership(leader.now, &add_learner(5), Ticket::new(2));
    assert_eq!(second, Ok(at(3, 1)));
}

/// What is refused was never in a log, and says why.
#[test]
fn s4_a_refused_change_leaves_no_trace() {
    let mut leader = Bench::leading(3);
    let twice = ChangeRequest::new([Change::Remove { node: n(2) }, Change::Demote { node: n(2) }]);
    let stale = remove(3).with_expected(at(1, 1));
    let add = |promotion| {
        ChangeRequest::new([Change::AddLearner { node: n(4), address: "".into(), promotion }])
    };
    for (request, error) in [
        (twice, ChangeError::NamedTwice { node: n(2) }),
        (stale, ChangeError::Stale { current: at(0, 0) }),
        (remove(9), ChangeError::UnknownMember { node: n(9) }),
        (add(Promotion::Replaces(n(9))), ChangeError::UnknownMember { node: n(9) }),
        (add_learner(2), ChangeError::AlreadyMember { node: n(2) }),
    ] {
        let refused = leader.raft.change_membership(leader.now, &request, Ticket::new(1));
        assert_eq!(refused, Err(error));
    }
    assert_eq!(leader.log(), [1]);
    let mut follower = Bench::with_log(3, 1, &[1]);
    let refused = follower.raft.change_membership(follower.now, &remove(2), Ticket::new(1));
    assert_eq!(refused, Err(ChangeError::NotLeader { leader: None }));
}
