//! The Checkpoint: the first record of every segment, a second witness against the replay.
//!
//! It says how the segment before ended, so that its torn tail is never read again, and how far
//! every group was, so that a replay that comes to another result is noticed, and so that the log
//! can be read from here on when the segments before are gone. Read next: `index.rs`.

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes};
use raft_core::codec::{CodecError, Reader, decode_membership, encode_membership, put_varint};
use raft_core::{EntryId, GroupId, HardState, Index, NodeId, Restored, SnapshotId, Term};

use super::snapshot_record;
use crate::replay::Replay;

/// Version 1 says how far each group is, version 2 everything about it but its entries.
const VERSION: u8 = 2;

/// How the segment before ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// There is none before.
    First,
    /// After its last batch, with nothing lost.
    Left,
    /// In a torn write, which was dropped.
    Cut,
}

/// Everything a Checkpoint says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Checkpoint {
    pub(super) ended: Ended,
    /// The segment before; zero if there is none.
    pub(super) previous_seq: u64,
    /// Where its last batch ends.
    pub(super) previous_end: u64,
    /// The number of that batch.
    pub(super) last_lsn: u64,
    /// The sum of its header.
    pub(super) chain: u64,
    /// The oldest segment that is still needed.
    pub(super) oldest_seq: u64,
    pub(super) groups: BTreeMap<GroupId, GroupFacts>,
    /// The same groups, whole; none in version 1.
    pub(super) states: BTreeMap<GroupId, Replay>,
}

/// How far a group is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GroupFacts {
    pub(super) hard_state: HardState,
    pub(super) base: EntryId,
    pub(super) last: EntryId,
    /// The snapshot it begins after; zero if there is none.
    pub(super) snapshot: SnapshotId,
}

impl From<&Replay> for GroupFacts {
    fn from(replay: &Replay) -> Self {
        Self {
            hard_state: replay.hard_state(),
            base: replay.base(),
            last: replay.last(),
            snapshot: replay.snapshot().map(|snapshot| snapshot.id).unwrap_or_default(),
        }
    }
}

impl Checkpoint {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.put_u8(match self.ended {
            Ended::First => 0,
            Ended::Cut => 2,
            Ended::Left => 4,
        });
        for number in [self.previous_seq, self.previous_end, self.last_lsn] {
            put_varint(&mut out, number);
        }
        out.put_u64_le(self.chain);
        put_varint(&mut out, self.oldest_seq);
        put_varint(&mut out, self.groups.len() as u64);
        for (group, facts) in &self.groups {
            let state = facts.hard_state;
            let vote = state.voted_for.map_or(0, NodeId::get);
            let (base, last) = (facts.base, facts.last);
            for number in [group.get(), state.term.get(), vote, state.commit.get()] {
                put_varint(&mut out, number);
            }
            for id in [base, last] {
                put_varint(&mut out, id.term.get());
                put_varint(&mut out, id.index.get());
            }
            out.put_u128_le(facts.snapshot.get());
        }
        for state in self.states.values() {
            put_state(&state.restored(), &mut out);
        }
        out
    }

    pub(super) fn decode(bytes: Bytes) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes);
        let found = reader.byte("checkpoint version")?;
        if found == 0 || found > VERSION {
            return Err(CodecError::Version { found, known: VERSION });
        }
        let ended = match reader.byte("checkpoint end")? {
            0 => Ended::First,
            2 => Ended::Cut,
            4 => Ended::Left,
            other => return Err(CodecError::Invalid("checkpoint end", u64::from(other))),
        };
        let previous_seq = reader.varint("previous segment")?;
        let previous_end = reader.varint("previous end")?;
        let last_lsn = reader.varint("last lsn")?;
        let chain = reader.u64("chain")?;
        let oldest_seq = reader.varint("oldest segment")?;
        let count = reader.count("checkpoint groups", GROUP_BYTES_MIN)?;
        let mut groups = BTreeMap::new();
        for _ in 0..count {
            let group = GroupId::new(reader.varint("group")?);
            groups.insert(group, take_facts(&mut reader)?);
        }
        let mut states = BTreeMap::new();
        for (group, facts) in groups.iter().filter(|_| found > 1) {
            states.insert(*group, take_state(&mut reader, facts)?);
        }
        reader.finish()?;
        Ok(Self { ended, previous_seq, previous_end, last_lsn, chain, oldest_seq, groups, states })
    }
}

/// Eight varints and a snapshot id.
const GROUP_BYTES_MIN: usize = 8 + 16;

fn take_facts(reader: &mut Reader) -> Result<GroupFacts, CodecError> {
    let term = Term::new(reader.varint("term")?);
    let voted_for = NodeId::new(reader.varint("vote")?);
    let commit = Index::new(reader.varint("commit hint")?);
    let mut take_id = || {
        let term = Term::new(reader.varint("entry term")?);
        Ok(EntryId::new(term, Index::new(reader.varint("entry index")?)))
    };
    let (base, last) = (take_id()?, take_id()?);
    let snapshot = SnapshotId::new(reader.u128("snapshot")?);
    Ok(GroupFacts { hard_state: HardState { term, voted_for, commit }, base, last, snapshot })
}

/// What the facts do not say of a group: its first membership, its snapshot, the runs of its terms
/// and the memberships in its log.
fn put_state(state: &Restored, out: &mut Vec<u8>) {
    let created = state.created.as_ref().map(encode_membership).unwrap_or_default();
    put_bytes(&created, out);
    put_id(state.covered(), out);
    put_bytes(&state.snapshot.as_ref().map(snapshot_record::encode).unwrap_or_default(), out);
    put_varint(out, state.terms.len() as u64);
    for (first, term) in &state.terms {
        put_varint(out, first.get());
        put_varint(out, term.get());
    }
    put_varint(out, state.memberships.len() as u64);
    for membership in &state.memberships {
        put_bytes(&encode_membership(membership), out);
    }
}

fn put_id(id: EntryId, out: &mut Vec<u8>) {
    put_varint(out, id.term.get());
    put_varint(out, id.index.get());
}

fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    put_varint(out, bytes.len() as u64);
    out.put_slice(bytes);
}

fn take_state(reader: &mut Reader, facts: &GroupFacts) -> Result<Replay, CodecError> {
    let created = reader.bytes("first membership")?;
    let created = (!created.is_empty()).then(|| decode_membership(created)).transpose()?;
    let term = Term::new(reader.varint("covered term")?);
    let covered = EntryId::new(term, Index::new(reader.varint("covered index")?));
    let snapshot = reader.bytes("snapshot record")?;
    let decode = |bytes: Bytes| snapshot_record::decode(&bytes, covered);
    let snapshot = (!snapshot.is_empty()).then(|| decode(snapshot)).transpose()?;
    let mut terms = Vec::new();
    for _ in 0..reader.count("runs of terms", 2)? {
        let first = Index::new(reader.varint("first index")?);
        terms.push((first, Term::new(reader.varint("term")?)));
    }
    let mut memberships = Vec::new();
    for _ in 0..reader.count("memberships", 1)? {
        memberships.push(decode_membership(reader.bytes("membership")?)?);
    }
    let GroupFacts { hard_state, base, last, .. } = *facts;
    let tail = Vec::new();
    let state = Restored { hard_state, created, snapshot, base, terms, last, memberships, tail };
    state.validate().map_err(|_| CodecError::Invalid("group in a Checkpoint", last.index.get()))?;
    Ok(Replay::from(state))
}
