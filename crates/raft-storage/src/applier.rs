//! `Applier`: committed entries into the state machine, and reads that wait for them.
//!
//! * Entries are applied in order and once, each after its payload was compared with its seal.
//! * A read is answered when everything up to its read index is applied, never before.
//! * Every ticket leaves with an answer.
//! * A snapshot is the state machine's bytes behind a prologue of our own, which leaves room for
//!   what is replicated beside them.
//!
//! The applier is the same code in production and in simulation; a host only gives it a thread.
//! Read next: `raft_core::StateMachine`.

use std::collections::BTreeMap;

use bytes::Bytes;
use raft_core::{
    Applied, Apply, Capture, EntryId, Halt, Index, PayloadKind, Restore, SnapshotError,
    SnapshotMeta, SnapshotSource, StateMachine, Ticket, mutant,
};

/// A state machine with what waits for it.
pub struct Applier {
    machine: Box<dyn StateMachine>,
    applied: EntryId,
    waiting: BTreeMap<Index, Vec<(Ticket, Query)>>,
}

/// What a read asks once its index is applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// A question for [`StateMachine::query`].
    Ask(Bytes),
    /// Nothing: the caller reads the shared state itself.
    Barrier,
}

/// What became of a ticket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The caller's mark.
    pub ticket: Ticket,
    /// For a proposal its entry; for a read the last entry applied before it was answered.
    pub id: EntryId,
    /// The answer of the state machine; empty for a barrier.
    pub bytes: Bytes,
}

impl Applier {
    /// An applier in front of a state machine that holds everything up to its
    /// [`applied`](StateMachine::applied) entry.
    pub fn new(machine: impl StateMachine) -> Self {
        let applied = machine.applied();
        Self { machine: Box::new(machine), applied, waiting: BTreeMap::new() }
    }

    /// An applier whose state machine becomes what the newest snapshot of the log holds, unless it
    /// holds that much itself: the first step of a recovery.
    ///
    /// # Errors
    ///
    /// [`Halt`] if the snapshot cannot be read, or is none of this state machine.
    pub fn recovered(
        machine: impl StateMachine,
        snapshot: Option<(&SnapshotMeta, &mut dyn SnapshotSource)>,
    ) -> Result<Self, Halt> {
        let mut applier = Self::new(machine);
        if let Some((meta, source)) = snapshot
            && meta.last_included.index > applier.applied.index
        {
            applier.become_snapshot(meta, source)?;
        }
        Ok(applier)
    }

    fn become_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        source: &mut dyn SnapshotSource,
    ) -> Result<(), Halt> {
        let covered = meta.last_included;
        let fault = |error: SnapshotError| Halt::new(format!("snapshot of {covered}: {error}"));
        let mut content = Content::open(source).map_err(fault)?;
        self.machine.restore(&mut content).map_err(fault)?;
        self.applied = covered;
        Ok(())
    }

    /// Freezes the state for a snapshot. Cheap: the bytes are pulled later, on another thread.
    ///
    /// # Errors
    ///
    /// [`Halt`] if the state machine cannot go on.
    ///
    /// # Panics
    ///
    /// If the state is not the one the snapshot is to be of: the host mixed up its jobs.
    pub fn capture(&self, capture: &Capture) -> Result<Box<dyn SnapshotSource>, Halt> {
        assert!(self.applied == capture.last_included(), "jobs are done in their order");
        Ok(Box::new(framed(self.machine.snapshot()?)))
    }

    /// The state machine becomes what an installed snapshot holds; reads that waited for it are
    /// answered.
    ///
    /// # Errors
    ///
    /// [`Halt`] if the snapshot cannot be read, or is none of this state machine.
    pub fn restore(
        &mut self,
        restore: Restore,
        source: &mut dyn SnapshotSource,
    ) -> Result<(Applied, Vec<Answer>), Halt> {
        if restore.snapshot().last_included.index > self.applied.index {
            self.become_snapshot(restore.snapshot(), source)?;
        }
        let mut answers = Vec::new();
        self.answer_reads(&mut answers);
        Ok((restore.into_applied(), answers))
    }

    /// The last entry inside the state machine.
    pub const fn applied(&self) -> EntryId {
        self.applied
    }

    /// A hash of the whole state, if the state machine has one.
    pub fn digest(&self) -> Option<u64> {
        self.machine.digest()
    }

    /// Applies committed entries and answers whoever waited for them.
    ///
    /// # Errors
    ///
    /// [`Halt`] if the state machine cannot go on, or if a payload is not what was sealed.
    ///
    /// # Panics
    ///
    /// If the entries do not follow what was applied before: the host mixed up its jobs.
    pub fn apply(&mut self, apply: Apply) -> Result<(Applied, Vec<Answer>), Halt> {
        let mut answers = Vec::with_capacity(apply.tickets().len());
        let mut tickets = apply.tickets().iter().peekable();
        for entry in apply.entries() {
            let id = entry.id;
            let ticket =
                tickets.next_if(|(index, _)| *index == id.index).map(|(_, ticket)| *ticket);
            let mut bytes = Bytes::new();
            if id.index > self.applied.index {
                assert!(id.index == self.applied.index.next(), "entries are applied without gaps");
                if !entry.payload.verify() {
                    let reason = format!("the payload of entry {id} is not what was sealed");
                    return Err(Halt::new(reason));
                }
                if entry.payload.kind() == PayloadKind::Command {
                    bytes = self.machine.apply(id, entry.payload.bytes())?;
                }
                self.applied = id;
            }
            answers.extend(ticket.map(|ticket| Answer { ticket, id, bytes }));
        }
        self.answer_reads(&mut answers);
        Ok((apply.into_applied(), answers))
    }

    /// Answers a read, now or once `index` is applied.
    pub fn read(&mut self, index: Index, ticket: Ticket, query: Query) -> Option<Answer> {
        if index > self.applied.index && !mutant!("C9a") {
            self.waiting.entry(index).or_default().push((ticket, query));
            return None;
        }
        Some(self.answer(ticket, &query))
    }

    fn answer_reads(&mut self, answers: &mut Vec<Answer>) {
        while let Some(first) = self.waiting.first_entry()
            && *first.key() <= self.applied.index
        {
            for (ticket, query) in first.remove() {
                answers.push(self.answer(ticket, &query));
            }
        }
    }

    fn answer(&self, ticket: Ticket, query: &Query) -> Answer {
        let bytes = match query {
            Query::Ask(query) => self.machine.query(query),
            Query::Barrier => Bytes::new(),
        };
        Answer { ticket, id: self.applied, bytes }
    }
}

/// Version 1, and no bytes of ours before those of the state machine.
const PROLOGUE: &[u8] = &[1, 0];

/// The data of a snapshot: what a state machine gave, behind the prologue.
pub(crate) fn framed(source: Box<dyn SnapshotSource>) -> impl SnapshotSource {
    Framed { prologue: Some(Bytes::from_static(PROLOGUE)), source }
}

/// The bytes of a state machine behind the prologue.
struct Framed {
    prologue: Option<Bytes>,
    source: Box<dyn SnapshotSource>,
}

impl SnapshotSource for Framed {
    fn next_chunk(&mut self) -> Result<Option<Bytes>, SnapshotError> {
        match self.prologue.take() {
            Some(prologue) => Ok(Some(prologue)),
            None => self.source.next_chunk(),
        }
    }
}

/// What follows the prologue.
struct Content<'a> {
    rest: Bytes,
    source: &'a mut dyn SnapshotSource,
}

impl<'a> Content<'a> {
    fn open(source: &'a mut dyn SnapshotSource) -> Result<Self, SnapshotError> {
        let mut first = Vec::new();
        while first.len() < PROLOGUE.len() {
            let Some(bytes) = source.next_chunk()? else {
                return Err(SnapshotError::malformed("the prologue of a snapshot"));
            };
            first.extend_from_slice(&bytes);
        }
        let rest = first.split_off(PROLOGUE.len());
        if first != PROLOGUE {
            let text = format!("a prologue of version 1, not {first:?}: a later program wrote it");
            return Err(SnapshotError::malformed(text));
        }
        Ok(Self { rest: rest.into(), source })
    }
}

impl SnapshotSource for Content<'_> {
    fn next_chunk(&mut self) -> Result<Option<Bytes>, SnapshotError> {
        if self.rest.is_empty() {
            self.source.next_chunk()
        } else {
            Ok(Some(self.rest.split_off(0)))
        }
    }
}
