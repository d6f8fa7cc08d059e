//! What the log is applied to: the key-value store, and what members tell about themselves.
//!
//! * A command is one of the store, or an *announcement*: a member's name and URLs, which etcd's
//!   clients ask for. They travel through the log, so every member shows the same list.
//! * The first byte tells them apart: the store's commands begin with the version of their format.
//!
//! Read next: `member.rs`, which proposes both.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use raft_api::etcdserverpb::Member;
use raft_api::prost::Message;
use raft_kv::SharedStore;
use raft_runtime::{EntryId, Halt, SnapshotCursor, SnapshotError, SnapshotSource, StateMachine};

/// The first byte of an announcement; far above any version of the store's commands.
const ANNOUNCEMENT: u8 = 0xa0;

/// The announced members by id. Clones are the same list.
#[derive(Clone, Debug, Default)]
pub struct Announced(Arc<RwLock<BTreeMap<u64, Member>>>);

impl Announced {
    /// What a member announced last.
    pub fn get(&self, id: u64) -> Option<Member> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// Forgets everybody.
    pub(crate) fn clear(&self) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(crate) fn insert(&self, member: Member) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(member.id, member);
    }

    /// Announcement by announcement, each behind its length.
    fn encode(&self) -> Bytes {
        let members = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut out = BytesMut::new();
        for member in members.values() {
            out.put_slice(&member.encode_length_delimited_to_vec());
        }
        out.freeze()
    }

    fn replace(&self, mut bytes: Bytes) -> Result<(), SnapshotError> {
        let mut members = BTreeMap::new();
        while !bytes.is_empty() {
            let member = Member::decode_length_delimited(&mut bytes)
                .map_err(|error| SnapshotError::malformed(format!("announcement: {error}")))?;
            members.insert(member.id, member);
        }
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = members;
        Ok(())
    }
}

/// An announcement as a command for the log.
pub fn announcement(member: &Member) -> Bytes {
    let mut out = BytesMut::with_capacity(1 + member.encoded_len());
    out.put_u8(ANNOUNCEMENT);
    out.put_slice(&member.encode_to_vec());
    out.freeze()
}

/// The state machine of a member. The server keeps clones of both halves to read them.
#[derive(Debug)]
pub struct Machine {
    /// Keys and values.
    pub store: SharedStore,
    /// Names and URLs.
    pub announced: Announced,
}

impl StateMachine for Machine {
    fn apply(&mut self, id: EntryId, command: &[u8]) -> Result<Bytes, Halt> {
        match command.split_first() {
            Some((&ANNOUNCEMENT, body)) => {
                let member = Member::decode(body)
                    .map_err(|error| Halt::new(format!("announcement in entry {id}: {error}")))?;
                self.announced.insert(member);
                Ok(Bytes::new())
            }
            Some(_) | None => self.store.apply(id, command),
        }
    }

    fn query(&self, query: &[u8]) -> Bytes {
        self.store.query(query)
    }

    fn snapshot(&self) -> Result<Box<dyn SnapshotSource>, Halt> {
        let announced = self.announced.encode();
        let mut head = BytesMut::with_capacity(8 + announced.len());
        head.put_u64_le(announced.len() as u64);
        head.put_slice(&announced);
        Ok(Box::new(MachineSnapshot { head: Some(head.freeze()), store: self.store.snapshot()? }))
    }

    fn restore(&mut self, snapshot: &mut dyn SnapshotSource) -> Result<(), SnapshotError> {
        let mut cursor = SnapshotCursor::new(snapshot);
        let len = cursor.read(8)?.get_u64_le();
        let announced = cursor.read(len)?;
        self.store.restore(&mut cursor)?;
        self.announced.replace(announced)
    }

    fn digest(&self) -> Option<u64> {
        Some(self.store.digest())
    }
}

/// The announcements behind their length, then the store.
struct MachineSnapshot {
    head: Option<Bytes>,
    store: Box<dyn SnapshotSource>,
}

impl SnapshotSource for MachineSnapshot {
    fn next_chunk(&mut self) -> Result<Option<Bytes>, SnapshotError> {
        match self.head.take() {
            Some(head) => Ok(Some(head)),
            None => self.store.next_chunk(),
        }
    }
}

#[cfg(test)]
mod tests {
    use raft_kv::{Command, PutRequest, RangeRequest};

    use super::*;

    /// Announcements and keys survive a snapshot together, and neither disturbs the other.
    #[test]
    fn a_snapshot_carries_keys_and_announcements() {
        let mut machine = Machine { store: SharedStore::new(), announced: Announced::default() };
        let put = Command::Put(PutRequest { key: b"k", value: b"v", ..PutRequest::default() });
        let member = Member { id: 7, name: "n7".to_owned(), ..Member::default() };
        machine.apply(EntryId::ZERO, &put.encode()).unwrap();
        machine.apply(EntryId::ZERO, &announcement(&member)).unwrap();
        assert_eq!(machine.store.revision(), 2, "an announcement is no revision");

        let whole: Bytes = machine.snapshot().unwrap().read_all().unwrap().into();
        // The disk cuts the bytes elsewhere than the state machine did.
        for len in 1..=whole.len() {
            let mut other = Machine { store: SharedStore::new(), announced: Announced::default() };
            other.restore(&mut Cut { rest: whole.clone(), len }).unwrap();
            assert_eq!(other.announced.get(7), Some(member.clone()), "in chunks of {len}");
            let range = other.store.range(&RangeRequest { key: b"k", ..RangeRequest::default() });
            assert_eq!(range.unwrap().count, 1, "in chunks of {len}");
            assert_eq!(other.digest(), machine.digest());
        }
    }

    /// A snapshot in chunks of one length.
    struct Cut {
        rest: Bytes,
        len: usize,
    }

    impl SnapshotSource for Cut {
        fn next_chunk(&mut self) -> Result<Option<Bytes>, SnapshotError> {
            let len = self.len.min(self.rest.len());
            Ok((len > 0).then(|| self.rest.split_to(len)))
        }
    }

    /// Bytes that are no announcement stop the node with a sentence that names the entry.
    #[test]
    fn a_malformed_announcement_halts() {
        let mut machine = Machine { store: SharedStore::new(), announced: Announced::default() };
        let halt = machine.apply(EntryId::ZERO, &[ANNOUNCEMENT, 0xff]).unwrap_err();
        assert!(halt.to_string().contains("announcement in entry 0@0"), "{halt}");
    }
}
