//! State machines under examination: what a user brings, wrapped so that the world sees more.
//!
//! * Invariants are asked after every command.
//! * Now and then a machine is frozen into a snapshot, which is restored into a machine that is
//!   not blank; that one goes on in its place. Which commands are followed by this depends on the
//!   node, so replicas go different ways and must still be equal.
//!
//! Read next: `world.rs`.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use raft_core::{EntryId, Halt, SnapshotError, SnapshotSource, StateMachine};

use crate::choice::mix;

/// A sentence and the predicate it stands for.
pub(crate) struct Invariant<M> {
    pub(crate) name: String,
    pub(crate) holds: Arc<dyn Fn(&M) -> bool + Send + Sync>,
}

/// What examined machines had to complain about; shared by all of a world.
#[derive(Clone, Debug, Default)]
pub(crate) struct Complaints(Arc<Mutex<Vec<(&'static str, String)>>>);

impl Complaints {
    fn add(&self, oracle: &'static str, text: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((oracle, text));
    }

    /// The first complaint, if there is one.
    pub(crate) fn take(&self) -> Option<(&'static str, String)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).drain(..).next()
    }
}

/// How machines of one kind are made and examined.
pub(crate) struct Examination<M> {
    pub(crate) make: Arc<dyn Fn() -> M + Send + Sync>,
    pub(crate) invariants: Vec<Invariant<M>>,
}

impl<M> Clone for Invariant<M> {
    fn clone(&self) -> Self {
        Self { name: self.name.clone(), holds: Arc::clone(&self.holds) }
    }
}

impl<M> Clone for Examination<M> {
    fn clone(&self) -> Self {
        Self { make: Arc::clone(&self.make), invariants: self.invariants.clone() }
    }
}

impl<M> fmt::Debug for Examination<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let invariants = self.invariants.len();
        f.debug_struct("Examination").field("invariants", &invariants).finish_non_exhaustive()
    }
}

/// Makes machines for a world that does not know their type.
pub(crate) trait Machines: Send + Sync {
    /// A machine as users make it.
    fn plain(&self) -> Box<dyn StateMachine>;

    /// A machine that is examined. `salt` decides after which commands it is replaced by its own
    /// snapshot: every `period`-th on average, never if zero.
    fn examined(&self, complaints: Complaints, salt: u64, period: u64) -> AnyMachine;
}

impl<M: StateMachine> Machines for Arc<Examination<M>> {
    fn plain(&self) -> Box<dyn StateMachine> {
        Box::new((self.make)())
    }

    fn examined(&self, complaints: Complaints, salt: u64, period: u64) -> AnyMachine {
        let examination = Self::clone(self);
        let machine = (self.make)();
        AnyMachine(Box::new(Examined {
            machine,
            examination,
            complaints,
            salt,
            period,
            restored: None,
        }))
    }
}

/// A state machine of any type.
pub(crate) struct AnyMachine(Box<dyn StateMachine>);

impl StateMachine for AnyMachine {
    fn apply(&mut self, id: EntryId, command: &[u8]) -> Result<Bytes, Halt> {
        self.0.apply(id, command)
    }

    fn query(&self, query: &[u8]) -> Bytes {
        self.0.query(query)
    }

    fn snapshot(&self) -> Result<Box<dyn SnapshotSource>, Halt> {
        self.0.snapshot()
    }

    fn restore(&mut self, snapshot: &mut dyn SnapshotSource) -> Result<(), SnapshotError> {
        self.0.restore(snapshot)
    }

    fn applied(&self) -> EntryId {
        self.0.applied()
    }

    fn digest(&self) -> Option<u64> {
        self.0.digest()
    }
}

struct Examined<M> {
    machine: M,
    examination: Arc<Examination<M>>,
    complaints: Complaints,
    salt: u64,
    period: u64,
    /// The entry after which it went on from its own snapshot.
    restored: Option<EntryId>,
}

impl<M: StateMachine> Examined<M> {
    /// Goes on as a machine that was restored from this one's snapshot, over other content.
    fn round_trip(&mut self, id: EntryId, command: &[u8]) -> Result<(), Halt> {
        let fault = |text| self.complaints.add("snapshots", text);
        let mut other = (self.examination.make)();
        // Not blank: a restore replaces everything, whatever was there.
        let _ = other.apply(id, command);
        let mut snapshot = self.machine.snapshot()?;
        if let Err(error) = other.restore(&mut *snapshot) {
            fault(format!(
                "after entry {id} a snapshot was taken that cannot be restored: {error}"
            ));
            return Ok(());
        }
        if self.machine.digest() != other.digest() {
            fault(format!(
                "after entry {id} the digest is {:x?}, that of a machine restored from its \
                 snapshot {:x?}",
                self.machine.digest(),
                other.digest()
            ));
        }
        (self.machine, self.restored) = (other, Some(id));
        Ok(())
    }
}

impl<M: StateMachine> StateMachine for Examined<M> {
    fn apply(&mut self, id: EntryId, command: &[u8]) -> Result<Bytes, Halt> {
        let answer = self.machine.apply(id, command)?;
        for invariant in &self.examination.invariants {
            if !(invariant.holds)(&self.machine) {
                let restored = self.restored.map_or_else(String::new, |entry| {
                    format!("; it goes on from its own snapshot since entry {entry}")
                });
                let name = &invariant.name;
                let text = format!("\"{name}\" does not hold after entry {id}{restored}");
                self.complaints.add("invariant", text);
            }
        }
        let draw = mix(self.salt ^ id.index.get());
        if self.period > 0 && draw.is_multiple_of(self.period) {
            self.round_trip(id, command)?;
        }
        Ok(answer)
    }

    fn query(&self, query: &[u8]) -> Bytes {
        self.machine.query(query)
    }

    fn snapshot(&self) -> Result<Box<dyn SnapshotSource>, Halt> {
        self.machine.snapshot()
    }

    fn restore(&mut self, snapshot: &mut dyn SnapshotSource) -> Result<(), SnapshotError> {
        self.machine.restore(snapshot)
    }

    fn applied(&self) -> EntryId {
        self.machine.applied()
    }

    fn digest(&self) -> Option<u64> {
        self.machine.digest()
    }
}
