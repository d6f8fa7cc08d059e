//! The reference state machine: an ordered map from keys to values.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::{Checksum, EntryId, Halt, SnapshotError, SnapshotSource, StateMachine};

/// An ordered map. A command is a key, a zero byte and a value; its answer is the value before.
/// A query is a key; its answer is the value, empty if there is none.
///
/// ```
/// use raft_core::{EntryId, InMemoryStateMachine, StateMachine};
/// let mut map = InMemoryStateMachine::new();
/// map.apply(EntryId::ZERO, b"key\0one").expect("never halts");
/// let before = map.apply(EntryId::ZERO, b"key\0two").expect("never halts");
/// assert_eq!((&before[..], &map.query(b"key")[..]), (&b"one"[..], &b"two"[..]));
/// ```
#[derive(Clone, Debug, Default)]
pub struct InMemoryStateMachine {
    map: BTreeMap<Vec<u8>, Bytes>,
}

impl InMemoryStateMachine {
    /// An empty map.
    pub fn new() -> Self {
        Self::default()
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (key, value) in &self.map {
            for part in [key.as_slice(), value] {
                bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
                bytes.extend_from_slice(part);
            }
        }
        bytes
    }
}

impl StateMachine for InMemoryStateMachine {
    fn apply(&mut self, _id: EntryId, command: &[u8]) -> Result<Bytes, Halt> {
        let end = command.iter().position(|byte| *byte == 0).unwrap_or(command.len());
        let value = Bytes::copy_from_slice(command.get(end + 1..).unwrap_or_default());
        Ok(self.map.insert(command[..end].to_vec(), value).unwrap_or_default())
    }

    fn query(&self, query: &[u8]) -> Bytes {
        self.map.get(query).cloned().unwrap_or_default()
    }

    fn snapshot(&self) -> Result<Box<dyn SnapshotSource>, Halt> {
        Ok(Box::new(Some(Bytes::from(self.bytes()))))
    }

    fn restore(&mut self, snapshot: &mut dyn SnapshotSource) -> Result<(), SnapshotError> {
        let bytes = snapshot.read_all()?;
        let mut rest = bytes.as_slice();
        let mut map = BTreeMap::new();
        while !rest.is_empty() {
            let key = take_part(&mut rest)?.to_vec();
            let value = Bytes::copy_from_slice(take_part(&mut rest)?);
            map.insert(key, value);
        }
        self.map = map;
        Ok(())
    }

    fn digest(&self) -> Option<u64> {
        Some(u64::from(Checksum::of(&self.bytes()).get()))
    }
}

fn take_part<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], SnapshotError> {
    let malformed =
        || SnapshotError::malformed("a length of eight bytes and as many bytes after it");
    let (len, tail) = rest.split_first_chunk::<8>().ok_or_else(malformed)?;
    let len = usize::try_from(u64::from_le_bytes(*len)).map_err(|_| malformed())?;
    let part = tail.get(..len).ok_or_else(malformed)?;
    *rest = &tail[len..];
    Ok(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A snapshot restored into a dirty map gives the same map, and cut bytes are refused.
    #[test]
    fn a_snapshot_replaces_everything_and_a_cut_one_is_refused() {
        let mut map = InMemoryStateMachine::new();
        for command in [&b"a\0one"[..], b"b\0", b"c\0three"] {
            map.apply(EntryId::ZERO, command).unwrap();
        }
        let mut other = InMemoryStateMachine::new();
        other.apply(EntryId::ZERO, b"old\0value").unwrap();
        other.restore(&mut *map.snapshot().unwrap()).unwrap();
        assert_eq!(other.digest(), map.digest());
        let bytes = map.bytes();
        for len in 1..bytes.len() {
            let cut = Some(Bytes::copy_from_slice(&bytes[..len]));
            let restored = other.clone().restore(&mut cut.clone());
            assert!(restored.is_err() || len == 20 || len == 37, "cut at {len} was accepted");
        }
    }
}
