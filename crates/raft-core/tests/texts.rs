//! What people read of this crate, word by word: errors, and the notation of the glossary in which
//! ids, entries, slices, memberships and times appear in logs.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt::{Debug, Display};
use std::time::Duration;

use bytes::Bytes;
use raft_core::codec::CodecError;
use raft_core::{
    ChangeError, Checksum, ClusterId, ConfigError, Entry, EntryId, Epoch, GroupId, Halt, Identity,
    Incarnation, Index, LogSlice, Member, Membership, NodeId, Payload, Peer, ProgressMode,
    ProposeError, ReadError, RestoreError, Restored, RoleName, Round, SliceError, SnapshotCursor,
    SnapshotError, SnapshotId, SnapshotMeta, SnapshotSource, Term, Ticket, Time, TransferError,
    WriteId,
};

fn n(id: u64) -> NodeId {
    NodeId::new(id).expect("not zero")
}

fn at(index: u64, term: u64) -> EntryId {
    EntryId::new(Term::new(term), Index::new(index))
}

fn entry(id: EntryId, payload: Payload) -> Entry {
    Entry { id, payload }
}

/// Each value reads as it is written here.
fn check<T: Display>(cases: &[(T, &str)]) {
    for (value, text) in cases {
        assert_eq!(value.to_string(), *text);
    }
}

/// Logs print what people read, not the insides.
fn check_both<T: Display + Debug>(cases: &[(T, &str)]) {
    check(cases);
    for (value, text) in cases {
        assert_eq!(format!("{value:?}"), *text);
    }
}

/// As `check`, and the text is in the form of all error texts, so that it may stand in a sentence.
fn check_errors<T: Error>(cases: &[(T, &str)]) {
    check(cases);
    for (_, text) in cases {
        assert!(text.starts_with(|first: char| !first.is_uppercase()), "lower case: {text}");
        assert!(!text.ends_with('.'), "no full stop: {text}");
    }
}

/// Who proposes is told who leads, or which limit was met.
#[test]
fn refused_proposals_say_why() {
    check_errors(&[
        (ProposeError::NotLeader { leader: Some(n(2)) }, "this node does not lead; n2 does"),
        (ProposeError::NotLeader { leader: None }, "no leader is known"),
        (ProposeError::NotACommand, "only commands are proposed"),
        (
            ProposeError::TooLarge { bytes: 9, max: 8 },
            "command of 9 bytes: at most 8 (command_bytes_max)",
        ),
        (
            ProposeError::Overloaded { max: 64 },
            "64 bytes wait for commitment; try again when they are committed",
        ),
        (ProposeError::StorageFull, "the disk of the leader is nearly full"),
        (ProposeError::Transferring { to: n(3) }, "leadership is being handed over to n3"),
    ]);
}

/// Who reads is told what there was no time, room or permission for.
#[test]
fn refused_reads_say_why() {
    check_errors(&[
        (ReadError::NoLeader, "no leader is known"),
        (ReadError::LeaderChanged, "the leader changed before the read was confirmed"),
        (
            ReadError::LeaseDisabled,
            "lease reads are off: they need with_lease_reads and a bound on clocks",
        ),
        (ReadError::Overloaded { max: 5 }, "5 reads already wait (waiting_reads_max)"),
    ]);
}

/// Who hands leadership over is told why nobody takes it.
#[test]
fn refused_transfers_say_why() {
    check_errors(&[
        (TransferError::NotLeader { leader: Some(n(2)) }, "this node does not lead; n2 does"),
        (TransferError::NotLeader { leader: None }, "no leader is known"),
        (TransferError::AlreadyLeader, "this node leads already"),
        (TransferError::NotAVoter { node: n(4) }, "n4 has no vote, so it cannot lead"),
        (TransferError::InProgress { to: n(3) }, "leadership is being handed over to n3"),
        (TransferError::NoSuccessor, "no other voter answers"),
    ]);
}

/// Who changes a membership is told which node, entry or number is in the way.
#[test]
fn refused_changes_say_why() {
    check_errors(&[
        (ChangeError::NotLeader { leader: Some(n(2)) }, "this node does not lead; n2 does"),
        (ChangeError::NotLeader { leader: None }, "no leader is known"),
        (ChangeError::NotReady, "the leader is new and has not committed an entry of its term yet"),
        (ChangeError::Transferring, "leadership is being handed over"),
        (
            ChangeError::InProgress { id: at(7, 3) },
            "the change of entry 7@3 is under way; one at a time",
        ),
        (
            ChangeError::Stale { current: at(7, 3) },
            "the membership changed meanwhile: it is that of entry 7@3",
        ),
        (ChangeError::Redundant, "nothing would change"),
        (ChangeError::NamedTwice { node: n(4) }, "n4 is named twice"),
        (ChangeError::UnknownMember { node: n(4) }, "n4 is not a member"),
        (ChangeError::AlreadyMember { node: n(4) }, "n4 is a member already"),
        (ChangeError::AlreadySo { node: n(4) }, "n4 already is what it is to become"),
        (ChangeError::NoVoters, "nobody would vote any more"),
        (
            ChangeError::QuorumLost { in_contact: 2, needed: 3 },
            "only 2 of the voters there would be are in contact, 3 are needed: the group could \
             not go on",
        ),
        (
            ChangeError::NotCaughtUp { node: n(4), behind: 12 },
            "n4 lacks 12 committed entries, or was never heard",
        ),
        (ChangeError::AddressTooLong { node: n(4) }, "the address of n4 is longer than 4096 bytes"),
    ]);
}

/// A configuration shows all its broken rules at once; a disk says where its log lies.
#[test]
fn nodes_that_cannot_be_made_say_why() {
    let fault = RestoreError { what: "the tail has a gap", base: at(3, 1), last: at(9, 2) };
    check_errors(&[(fault, "the tail has a gap (log from 3@1 to 9@2)")]);
    let violations = |texts: &[&str]| {
        ConfigError::Violations(texts.iter().map(|text| (*text).to_owned()).collect())
    };
    check_errors(&[
        (violations(&["seed 0: not zero"]), "seed 0: not zero"),
        (violations(&["one", "two", "three"]), "one; two; three"),
        (ConfigError::from(fault), "the tail has a gap (log from 3@1 to 9@2)"),
    ]);
}

/// Every fault of a disk that does not fit together has a sentence of its own.
#[test]
fn disks_that_remember_what_cannot_be_say_what() {
    let run = |first, term| (Index::new(first), Term::new(term));
    let mut sound = Restored { last: at(3, 2), terms: vec![run(1, 1), run(3, 2)], ..blank() };
    sound.tail = [at(2, 1), at(3, 2)].map(|id| entry(id, Payload::no_op())).into();
    sound.hard_state.term = Term::new(2);
    sound.hard_state.commit = Index::new(3);
    assert_eq!(sound.validate(), Ok(()));

    let check = |spoil: &dyn Fn(&mut Restored), text: &str| {
        let mut restored = sound.clone();
        spoil(&mut restored);
        let error = restored.validate().expect_err(text);
        let (base, last) = (restored.base, restored.last);
        assert_eq!(error.to_string(), format!("{text} (log from {base} to {last})"));
    };
    check(&|disk| disk.base = at(4, 2), "the log ends before its base");
    check(&|disk| disk.base = at(1, 1), "the log begins after more than its snapshot covers");
    check(
        &|disk| disk.snapshot = Some(snapshot(at(4, 2))),
        "the log ends before what its snapshot covers",
    );
    check(&|disk| disk.last = EntryId::ZERO, "an empty log has entries");
    check(
        &|disk| disk.terms = vec![run(2, 1), run(3, 2)],
        "the first run of terms does not begin after the base",
    );
    check(&|disk| disk.terms = vec![run(1, 2), run(3, 2)], "runs of terms do not ascend");
    check(
        &|disk| {
            (disk.base, disk.snapshot) = (at(1, 2), Some(snapshot(at(1, 2))));
            disk.terms = vec![run(2, 1), run(3, 2)];
        },
        "the first term of the log is below the term of its base",
    );
    check(
        &|disk| disk.terms = vec![run(1, 1)],
        "the last run of terms does not end at the last entry",
    );
    check(
        &|disk| disk.hard_state.term = Term::new(1),
        "the log holds a later term than the hard state",
    );
    check(&|disk| disk.hard_state.commit = Index::new(4), "the commit hint lies beyond the log");
    check(&|disk| disk.tail.truncate(1), "the tail does not end at the last entry");
    check(&|disk| disk.tail[0].id = at(1, 1), "the tail has a gap");
}

fn blank() -> Restored {
    Restored::default()
}

fn snapshot(last_included: EntryId) -> SnapshotMeta {
    let membership = Membership::default();
    SnapshotMeta { id: SnapshotId::new(1), last_included, membership, data_bytes: 0 }
}

/// Bytes that are no message say where they stop making sense.
#[test]
fn bytes_that_cannot_be_decoded_say_where() {
    check_errors(&[
        (CodecError::Truncated("member flags"), "the bytes end inside member flags"),
        (CodecError::Invalid("member node", 0), "member node cannot be 0"),
        (CodecError::Version { found: 3, known: 1 }, "format version 3, this code knows version 1"),
        (CodecError::Trailing(12), "12 bytes are left after the last field"),
    ]);
}

/// Entries that do not follow each other are both named.
#[test]
fn entries_that_are_no_slice_are_named() {
    let before = at(4, 2);
    check_errors(&[
        (SliceError { before, found: at(6, 2) }, "entry 6@2 cannot follow entry 4@2 in a log"),
        (SliceError { before, found: at(5, 1) }, "entry 5@1 cannot follow entry 4@2 in a log"),
    ]);
    let found = LogSlice::new(before, vec![entry(at(6, 2), Payload::no_op())]);
    assert_eq!(found, Err(SliceError { before, found: at(6, 2) }));
}

/// A state machine that stops its node is quoted, and so is whoever could not read a snapshot.
#[test]
fn state_machines_and_snapshots_are_quoted() {
    check_errors(&[(Halt::new("the map is torn"), "state machine halted: the map is torn")]);
    check_errors(&[
        (SnapshotError::malformed("eight bytes"), "malformed snapshot: eight bytes"),
        (
            SnapshotError::Io("1.chunk: no such file".to_owned()),
            "snapshot input or output: 1.chunk: no such file",
        ),
        (SnapshotError::Gone, "the snapshot is not here any more"),
    ]);
    assert_eq!(SnapshotError::malformed("x"), SnapshotError::Malformed("x".to_owned()));
}

/// Nodes have an n before their number; terms, indexes and all other counters are numbers, and
/// stand in columns as numbers do.
#[test]
fn nodes_and_counters_are_short() {
    check_both(&[(n(1), "n1"), (n(u64::MAX), "n18446744073709551615")]);
    check_both(&[(Term::ZERO, "0"), (Term::new(12), "12")]);
    check_both(&[(Index::ZERO, "0"), (Index::new(u64::MAX), "18446744073709551615")]);
    check_both(&[(Epoch::new(3), "3")]);
    check_both(&[(Round::new(4), "4")]);
    check_both(&[(Ticket::new(5), "5")]);
    check_both(&[(WriteId::new(6), "6")]);
    check_both(&[(GroupId::new(7), "7")]);
    assert_eq!(
        format!("{:>4}|{:<4}|{:04}", Index::new(7), Term::new(8), Ticket::new(9)),
        "   7|8   |0009"
    );
}

/// Random identities are hexadecimal, as short as they are; checksums have all their digits.
#[test]
fn identities_and_checksums_are_hexadecimal() {
    check_both(&[(ClusterId::new(0), "0"), (ClusterId::new(0x7c1e), "7c1e")]);
    check_both(&[(Incarnation::new(u128::MAX), "ffffffffffffffffffffffffffffffff")]);
    check_both(&[(SnapshotId::new(0xab), "ab")]);
    check_both(&[
        (Checksum::new(0), "00000000"),
        (Checksum::new(0x1f2e), "00001f2e"),
        (Checksum::of(b"123456789"), "e3069283"),
    ]);
}

/// A peer is its node and its disk, and an identity says of which cluster, too.
#[test]
fn peers_and_identities_name_the_disk() {
    let peer = Peer { node: n(2), incarnation: Incarnation::new(0x1ca2) };
    check(&[(peer, "n2/1ca2")]);
    check(&[(Identity { cluster: ClusterId::new(0x7c1e), peer }, "n2/1ca2 of cluster 7c1e")]);
}

/// An entry is its index at its term, and what it carries if that is short and readable.
#[test]
fn entries_are_an_index_at_a_term() {
    check_both(&[(EntryId::ZERO, "0@0"), (at(7, 3), "7@3")]);
    let membership = Membership::bootstrap(BTreeMap::from([(n(1), Member::default())]));
    let (longest, too_long) = ("x".repeat(32), "x".repeat(33));
    let quoted = format!("{longest:?}");
    let cases = [
        (Payload::no_op(), "no-op"),
        (Payload::membership(&membership), "membership"),
        (Payload::command("say \"hi\""), r#""say \"hi\"""#),
        (Payload::command(""), r#""""#),
        (Payload::command(longest), quoted.as_str()),
        (Payload::command(too_long), "33 bytes"),
        (Payload::command(vec![0xff, 0xfe]), "2 bytes"),
    ];
    for (payload, text) in cases {
        assert_eq!(format!("{payload:?}"), text);
        assert_eq!(format!("{:?}", entry(at(7, 3), payload)), format!("7@3 {text}"));
    }
}

/// A slice names the entry before it and its own, not what they carry.
#[test]
fn slices_name_their_entries() {
    let slice = |ids: &[EntryId]| {
        let entries = ids.iter().map(|id| entry(*id, Payload::command("secret"))).collect();
        format!("{:?}", LogSlice::new(at(4, 2), entries).expect("they follow"))
    };
    assert_eq!(slice(&[]), "prev=4@2 []");
    assert_eq!(slice(&[at(5, 2)]), "prev=4@2 [5@2]");
    assert_eq!(slice(&[at(5, 2), at(6, 3), at(7, 3)]), "prev=4@2 [5@2 6@3 7@3]");
}

/// A membership lists voters; outgoing voters and learners only where there are some. Who votes in
/// the old half alone is no learner.
#[test]
fn memberships_list_who_counts() {
    let membership = |members: &[u64], voters: &[u64], outgoing: &[u64]| {
        let nodes = |ids: &[u64]| ids.iter().map(|id| n(*id)).collect::<BTreeSet<_>>();
        let members = nodes(members).into_iter().map(|node| (node, Member::default())).collect();
        Membership::from_parts(at(7, 3), members, nodes(voters), nodes(outgoing))
            .expect("whoever votes is a member")
    };
    check(&[
        (Membership::default(), "voters"),
        (membership(&[3, 1, 2], &[3, 1, 2], &[]), "voters n1 n2 n3"),
        (membership(&[1, 2, 3, 4, 5], &[1, 2, 3], &[]), "voters n1 n2 n3, learners n4 n5"),
        (membership(&[1, 2, 3], &[1, 2], &[1, 3]), "voters n1 n2, outgoing n1 n3"),
        (membership(&[1, 2, 3, 4], &[1, 2], &[2, 3]), "voters n1 n2, outgoing n2 n3, learners n4"),
    ]);
}

/// Times are milliseconds with the microseconds behind; shorter ones are cut off, and the end of
/// time is a word.
#[test]
fn times_are_milliseconds() {
    check_both(&[
        (Time::ZERO, "0.000ms"),
        (Time::from_nanos(999), "0.000ms"),
        (Time::from_nanos(1_000), "0.001ms"),
        (Time::from_nanos(12_345_678_999), "12345.678ms"),
        (Time::ZERO.after(Duration::from_millis(1050)), "1050.000ms"),
        (Time::NEVER, "never"),
        (Time::from_nanos(u64::MAX - 1), "18446744073709.551ms"),
    ]);
}

/// Roles and the ways a leader sends are words of the glossary.
#[test]
fn roles_and_modes_are_words() {
    check(&[
        (RoleName::Follower, "follower"),
        (RoleName::Learner, "learner"),
        (RoleName::PreCandidate, "pre-candidate"),
        (RoleName::Candidate, "candidate"),
        (RoleName::Leader, "leader"),
    ]);
    check(&[
        (ProgressMode::Probe, "probe"),
        (ProgressMode::Replicate, "replicate"),
        (ProgressMode::Snapshot, "snapshot"),
    ]);
}

/// A cursor tells how many bytes it holds, not which; one that comes to an early end says how many
/// are missing.
#[test]
fn a_cursor_tells_how_much_it_holds() {
    let mut source = Some(Bytes::from_static(b"\x02hiyou"));
    let mut cursor = SnapshotCursor::new(&mut source);
    assert_eq!(format!("{cursor:?}"), "SnapshotCursor { pulled: 0, .. }");
    cursor.read(1).expect("it is there");
    assert_eq!(format!("{cursor:?}"), "SnapshotCursor { pulled: 5, .. }");
    let error = cursor.read(8).expect_err("five are there");
    assert_eq!(error.to_string(), "malformed snapshot: 3 more bytes");
    assert_eq!(cursor.next_chunk(), Ok(None));
}
