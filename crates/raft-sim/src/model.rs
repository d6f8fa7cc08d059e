//! What a single machine would have said: sequential specifications, written a second time.
//!
//! A model shares no code with the state machine it specifies, so that a mistake in one of them
//! shows. Read next: `linearizability.rs`, where models judge histories.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::history::Kind;

/// A sequential specification, for the checker that sees only what clients saw.
pub trait Model: Send + Sync {
    /// Everything that answers depend on. States that answer everything alike should be equal:
    /// the checker then visits fewer.
    type State: Clone + Ord;

    /// The state before the first command.
    fn initial(&self) -> Self::State;

    /// Carries out a command and returns its answer.
    fn write(&self, state: &mut Self::State, command: &[u8]) -> Bytes;

    /// Answers a query.
    fn read(&self, state: &Self::State, query: &[u8]) -> Bytes;

    /// The part of the state that an operation touches. Operations with different keys never
    /// influence one another, so they are checked apart (P-compositionality). Without a reason to
    /// know better, everything is one part.
    fn key(&self, _kind: Kind, _input: &[u8]) -> Bytes {
        Bytes::new()
    }
}

/// The model of [`raft_core::InMemoryStateMachine`]: a command is a key, a zero byte and a value,
/// and its answer is the value before; a query is a key. Each key is checked apart.
///
/// ```
/// use raft_sim::model::{MapModel, Model};
/// let mut state = MapModel.initial();
/// MapModel.write(&mut state, b"key\0one");
/// assert_eq!(MapModel.write(&mut state, b"key\0two"), "one");
/// assert_eq!(MapModel.read(&state, b"key"), "two");
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct MapModel;

impl Model for MapModel {
    type State = BTreeMap<Bytes, Bytes>;

    fn initial(&self) -> Self::State {
        BTreeMap::new()
    }

    fn write(&self, state: &mut Self::State, command: &[u8]) -> Bytes {
        let mut parts = command.splitn(2, |byte| *byte == 0);
        let key = Bytes::copy_from_slice(parts.next().unwrap_or_default());
        let value = Bytes::copy_from_slice(parts.next().unwrap_or_default());
        // No value and an empty one answer alike, so they are one state.
        let before = if value.is_empty() { state.remove(&key) } else { state.insert(key, value) };
        before.unwrap_or_default()
    }

    fn read(&self, state: &Self::State, query: &[u8]) -> Bytes {
        state.get(query).cloned().unwrap_or_default()
    }

    fn key(&self, kind: Kind, input: &[u8]) -> Bytes {
        match kind {
            Kind::Write => {
                Bytes::copy_from_slice(input.split(|byte| *byte == 0).next().unwrap_or_default())
            }
            Kind::Read => Bytes::copy_from_slice(input),
        }
    }
}

#[cfg(test)]
mod tests {
    use raft_core::{EntryId, InMemoryStateMachine, StateMachine};

    use super::*;

    /// Model and state machine answer alike, for odd commands too: without a zero byte, with two,
    /// with an empty key or value.
    #[test]
    fn the_model_answers_like_the_state_machine() {
        let commands: [&[u8]; 9] =
            [b"a\0one", b"a\0two", b"a\0", b"a", b"a\0x\0y", b"", b"\0empty", b"a\0z", b"b\0a"];
        let (mut state, mut machine) = (MapModel.initial(), InMemoryStateMachine::new());
        for command in commands {
            let answer = machine.apply(EntryId::ZERO, command).unwrap();
            assert_eq!(MapModel.write(&mut state, command), answer);
            for query in [&b"a"[..], b"", b"b", b"a\0z"] {
                assert_eq!(MapModel.read(&state, query), machine.query(query));
            }
        }
    }
}
