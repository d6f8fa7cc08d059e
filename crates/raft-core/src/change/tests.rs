//! What a request makes of a membership, and the way there.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

use super::*;
use crate::{Departure, codec};

fn n(id: u64) -> NodeId {
    NodeId::new(id).unwrap()
}

fn disk(id: u64) -> Incarnation {
    Incarnation::new(u128::from(id) * 100)
}

/// Voters with recorded disks, and learners that show theirs.
fn group(voters: &[u64], learners: &[u64]) -> Membership {
    let member = |id: &u64| (n(*id), Member { incarnation: Some(disk(*id)), ..Member::default() });
    let mut membership = Membership::bootstrap(voters.iter().map(member).collect());
    for id in learners {
        let change = Change::AddLearner {
            node: n(*id),
            address: Bytes::new(),
            promotion: Promotion::Automatic,
        };
        membership = membership.changed(&[change], |_| None).unwrap();
    }
    membership
}

#[expect(clippy::unnecessary_wraps, reason = "asked as a leader is asked")]
fn met(node: NodeId) -> Option<Incarnation> {
    Some(disk(node.get()))
}

fn ids<'a>(nodes: impl IntoIterator<Item = &'a NodeId>) -> Vec<u64> {
    nodes.into_iter().map(|node| node.get()).collect()
}

/// A replacement votes from the moment on in which the replaced one does not: one step, two
/// majorities, never a weaker quorum.
#[test]
fn a_replacement_takes_the_place_of_the_replaced_in_one_step() {
    let group = group(&[1, 2, 3], &[]);
    let promotion = Promotion::Replaces(n(3));
    let add = Change::AddLearner { node: n(4), address: "d:1".into(), promotion };
    let waiting = group.changed(&[add], met).unwrap();
    assert_eq!(ids(waiting.voters()), [1, 2, 3]);

    let aim = waiting.changed(&[Change::Promote { node: n(4) }], met).unwrap();
    let joint = waiting.toward(aim);
    assert_eq!((ids(joint.voters()), ids(joint.outgoing())), (vec![1, 2, 4], vec![1, 2, 3]));
    assert_eq!(joint.departures(), &BTreeMap::from([(n(3), Departure::Removed)]));
    assert_eq!(ids(joint.left().members().keys()), [1, 2, 4]);
}

/// A wiped voter keeps its old disk on record until it votes no more: what the new one says counts
/// nowhere before.
#[test]
fn a_readmitted_voter_keeps_its_old_disk_on_record_while_joint() {
    let group = group(&[1, 2, 3], &[]);
    let incarnation = Incarnation::new(7);
    let aim = group.changed(&[Change::Readmit { node: n(3), incarnation }], met).unwrap();
    let joint = group.toward(aim);
    assert_eq!(joint.members()[&n(3)].incarnation, Some(disk(3)));
    let next = joint.left();
    assert_eq!(next.members()[&n(3)].incarnation, Some(incarnation));
    assert_eq!((ids(next.voters()), next.promotion(n(3))), (vec![1, 2], Promotion::Automatic));
}

/// A demoted voter stays and learns; nobody promotes it again by itself.
#[test]
fn a_demoted_voter_stays_a_learner() {
    let group = group(&[1, 2, 3], &[]);
    let aim = group.changed(&[Change::Demote { node: n(2) }], met).unwrap();
    let next = group.toward(aim).left();
    assert_eq!(next.learners().collect::<Vec<_>>(), [n(2)]);
    assert_eq!(next.promotion(n(2)), Promotion::Manual);
}

/// Who does not vote needs no joint membership.
#[test]
fn learners_and_addresses_change_without_a_joint_membership() {
    let group = group(&[1, 2, 3], &[4]);
    let moves = Change::UpdateAddress { node: n(2), address: "b:2".into() };
    for change in [Change::Remove { node: n(4) }, moves] {
        let aim = group.changed(&[change], met).unwrap();
        assert!(!group.toward(aim).is_joint());
    }
}

/// Every refusal has its reason.
#[test]
fn what_makes_no_sense_is_refused_with_a_reason() {
    let group = group(&[1, 2], &[3]);
    let learner = |id| Change::AddLearner {
        node: n(id),
        address: Bytes::new(),
        promotion: Promotion::Manual,
    };
    let (one, two, three, nine) = (n(1), n(2), n(3), n(9));
    let long = Bytes::from(vec![b'x'; ADDRESS_BYTES_MAX + 1]);
    let cases = [
        (vec![], ChangeError::Redundant),
        (vec![learner(1)], ChangeError::AlreadyMember { node: one }),
        (vec![learner(9), Change::Remove { node: nine }], ChangeError::NamedTwice { node: nine }),
        (vec![Change::Remove { node: nine }], ChangeError::UnknownMember { node: nine }),
        (vec![Change::Promote { node: one }], ChangeError::AlreadySo { node: one }),
        (vec![Change::Demote { node: three }], ChangeError::AlreadySo { node: three }),
        (vec![Change::Demote { node: one }, Change::Remove { node: two }], ChangeError::NoVoters),
        (
            vec![Change::Readmit { node: one, incarnation: disk(1) }],
            ChangeError::AlreadySo { node: one },
        ),
        (
            vec![Change::UpdateAddress { node: one, address: long }],
            ChangeError::AddressTooLong { node: one },
        ),
        (vec![Change::UpdateAddress { node: one, address: Bytes::new() }], ChangeError::Redundant),
    ];
    for (changes, refusal) in cases {
        assert_eq!(group.changed(&changes, met), Err(refusal.clone()), "{changes:?}");
    }
    let unmet = group.changed(&[Change::Promote { node: three }], |_| None);
    assert_eq!(unmet, Err(ChangeError::NotCaughtUp { node: three, behind: 0 }));
}

/// Whatever a change leads to survives the codec.
#[test]
fn every_plan_survives_its_bytes() {
    let start = group(&[1, 2, 3], &[4]);
    let changes = [
        Change::Promote { node: n(4) },
        Change::Remove { node: n(1) },
        Change::Readmit { node: n(2), incarnation: Incarnation::new(9) },
        Change::AddLearner {
            node: n(5),
            address: "e:1".into(),
            promotion: Promotion::Replaces(n(3)),
        },
    ];
    let joint = start.toward(start.changed(&changes, met).unwrap());
    for membership in [joint.left(), joint] {
        let bytes = codec::encode_membership(&membership);
        assert_eq!(codec::decode_membership(bytes), Ok(membership));
    }
}

/// Two learners are promoted in one step, and one of them is to take the place of the other: asked
/// for in either order it is refused, and nobody is dropped in silence.
#[test]
fn nobody_is_promoted_and_replaced_in_one_step() {
    let waiting = group(&[1, 2, 3], &[4]);
    let promotion = Promotion::Replaces(n(4));
    let add = Change::AddLearner { node: n(5), address: Bytes::new(), promotion };
    let waiting = waiting.changed(&[add], met).unwrap();
    let (four, five) = (Change::Promote { node: n(4) }, Change::Promote { node: n(5) });
    let refused = waiting.changed(&[four.clone(), five.clone()], met);
    assert_eq!(refused, Err(ChangeError::NamedTwice { node: n(4) }));
    let refused = waiting.changed(&[five.clone(), four.clone()], met);
    assert_eq!(refused, Err(ChangeError::UnknownMember { node: n(4) }));
    assert_eq!(ids(waiting.changed(&[four], met).unwrap().voters()), [1, 2, 3, 4]);
    assert_eq!(ids(waiting.changed(&[five], met).unwrap().voters()), [1, 2, 3, 5]);
}
