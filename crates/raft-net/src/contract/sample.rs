//! Messages to send: numbered ones of both classes, and one of every kind.

use std::time::Duration;

use bytes::Bytes;
use raft_core::{
    AppendEntries, AppendEntriesResponse, AppendResult, Body, Entry, EntryId, Envelope, Epoch,
    GroupId, Incarnation, Index, InstallSnapshot, InstallSnapshotResponse, LogSlice, Member,
    Membership, Message, NodeId, Payload, Peer, PreVote, PreVoteResponse, Propose, ProposeResponse,
    ReadIndex, ReadIndexResponse, RefusedProposal, RequestVote, RequestVoteResponse, Round,
    SnapshotId, SnapshotMeta, Term, Ticket,
};

use crate::Class;

/// What messages claim to be sent by; no host shows it in a handshake.
pub(super) const CLAIMED: Incarnation = Incarnation::new(0xbad);

pub(super) fn node(id: u64) -> NodeId {
    NodeId::new(id).expect("the suite has no node zero")
}

pub(super) fn envelope(from: NodeId, to: NodeId, body: Body) -> Envelope {
    let from = Peer { node: from, incarnation: CLAIMED };
    let (term, epoch) = (Term::new(7), Epoch::new(3));
    Envelope { group: GroupId::new(5), message: Message { from, to, term, epoch, body } }
}

/// A message of this class with a number to know it by; bulk brings this many bytes.
pub(super) fn numbered(class: Class, number: u64, bytes: usize) -> Body {
    match class {
        Class::Control => Body::ReadIndex(ReadIndex { batch: number }),
        Class::Bulk => entries(number, [content(number, bytes)]),
    }
}

/// The number a message was made with.
pub(super) fn number(message: &Message) -> Option<u64> {
    match &message.body {
        Body::ReadIndex(ask) => Some(ask.batch),
        Body::AppendEntries(request) => Some(request.slice.prev().index.get()),
        Body::PreVote(_)
        | Body::PreVoteResponse(_)
        | Body::RequestVote(_)
        | Body::RequestVoteResponse(_)
        | Body::AppendEntriesResponse(_)
        | Body::InstallSnapshot(_)
        | Body::InstallSnapshotResponse(_)
        | Body::ReadIndexResponse(_)
        | Body::Propose(_)
        | Body::ProposeResponse(_)
        | Body::TimeoutNow => None,
    }
}

/// Bytes of entries and commands in a message: what it takes at the very least.
pub(super) fn content_bytes(body: &Body) -> u64 {
    let bytes = |payload: &Payload| payload.bytes().len() as u64;
    match body {
        Body::AppendEntries(request) => {
            request.slice.entries().iter().map(|entry| bytes(&entry.payload)).sum()
        }
        Body::Propose(propose) => propose.payloads.iter().map(bytes).sum(),
        Body::PreVote(_)
        | Body::PreVoteResponse(_)
        | Body::RequestVote(_)
        | Body::RequestVoteResponse(_)
        | Body::AppendEntriesResponse(_)
        | Body::InstallSnapshot(_)
        | Body::InstallSnapshotResponse(_)
        | Body::ReadIndex(_)
        | Body::ReadIndexResponse(_)
        | Body::ProposeResponse(_)
        | Body::TimeoutNow => 0,
    }
}

/// What a leader says when it has nothing to say.
pub(super) fn heartbeat(number: u64) -> Body {
    entries(number, [])
}

/// A vote that is asked for.
pub(super) fn vote() -> Body {
    Body::RequestVote(RequestVote { last: id(7, 41), transfer: true })
}

/// A message of every kind, those with content in several sizes.
pub(super) fn of_every_kind() -> Vec<Body> {
    let (index, round, granted) = (Index::new(1 << 60), Round::new(300), true);
    let matched = AppendResult::Matched { match_index: Index::new(1), accepted: Index::new(2) };
    let conflict = AppendResult::Conflict { hint: id(3, 70_000), rejected: Index::new(80_000) };
    let refused = [
        (Ticket::new(1), RefusedProposal::NotLeader),
        (Ticket::new(1 << 40), RefusedProposal::Overloaded),
        (Ticket::new(3), RefusedProposal::TooLarge),
    ];
    let mut bodies = vec![
        Body::PreVote(PreVote { last: id(1, 1) }),
        Body::PreVoteResponse(PreVoteResponse { granted }),
        vote(),
        Body::RequestVoteResponse(RequestVoteResponse { granted: false }),
        heartbeat(9),
        Body::AppendEntriesResponse(AppendEntriesResponse { round, result: matched }),
        Body::AppendEntriesResponse(AppendEntriesResponse { round, result: conflict }),
        Body::InstallSnapshot(InstallSnapshot { snapshot: snapshot(), round }),
        Body::InstallSnapshotResponse(InstallSnapshotResponse { match_index: index, round }),
        Body::ReadIndex(ReadIndex { batch: u64::MAX }),
        Body::ReadIndexResponse(ReadIndexResponse { batch: 0, index: Some(index) }),
        Body::ReadIndexResponse(ReadIndexResponse { batch: 0, index: None }),
        Body::ProposeResponse(ProposeResponse { boot: 77, refused: refused.to_vec() }),
        Body::TimeoutNow,
        Body::Propose(Propose { boot: 77, serial: 1, payloads: Vec::new() }),
    ];
    for bytes in [0, 1, 100, 4_095, 4_096, 70_000, 300_000] {
        let content = content(bytes as u64, bytes);
        let payloads = vec![Payload::command(content.clone()), Payload::no_op()];
        bodies.push(entries(11, [content.clone(), Bytes::new(), content]));
        bodies.push(Body::Propose(Propose { boot: 77, serial: 2, payloads }));
    }
    bodies
}

/// So many bytes, of which each neighbourhood differs and which no two numbers share.
pub(super) fn content(number: u64, bytes: usize) -> Bytes {
    let period: Vec<_> = number.to_le_bytes().into_iter().chain(0..=250).collect();
    let mut content = period.repeat(bytes / period.len() + 1);
    content.truncate(bytes);
    content.into()
}

/// The message that sends these commands after the entry with this index.
pub(super) fn entries(after: u64, commands: impl IntoIterator<Item = Bytes>) -> Body {
    let indexes = after + 1..;
    let entries = indexes
        .zip(commands)
        .map(|(index, command)| Entry { id: id(7, index), payload: Payload::command(command) });
    let slice = LogSlice::new(id(7, after), entries.collect()).expect("consecutive entries");
    Body::AppendEntries(AppendEntries {
        broadcast_time: Duration::ZERO,
        slice,
        leader_commit: Index::new(after),
        round: Round::new(1),
    })
}

fn snapshot() -> SnapshotMeta {
    let member = |id| {
        let (address, incarnation) = (format!("host-{id}:7001").into(), Some(CLAIMED));
        (node(id), Member { address, incarnation })
    };
    let membership = Membership::bootstrap((1..=5).map(member).collect());
    let id_of_content = SnapshotId::new(u128::MAX - 1);
    SnapshotMeta { id: id_of_content, last_included: id(6, 40), membership, data_bytes: 1 << 40 }
}

fn id(term: u64, index: u64) -> EntryId {
    EntryId::new(Term::new(term), Index::new(index))
}
