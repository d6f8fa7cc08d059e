//! What clients asked of a cluster and what they were told.
//!
//! * Times are numbers of events of the world. An operation precedes another if it returned before
//!   the other was invoked; operations that share an event are concurrent.
//! * Operations stand in the order of their invocation, and each ends at most once.
//!
//! Read next: `linearizability.rs`, which judges a history.

use std::fmt;

use bytes::Bytes;
use raft_core::{Index, NodeId};

/// Whether an operation may change the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A command, which goes through the log.
    Write,
    /// A query, which does not.
    Read,
}

/// What a client learned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The operation was answered.
    Answered {
        /// When the answer reached the client.
        returned: u64,
        /// The log index the node claims: of a write, where it was applied; of a read, the last
        /// entry applied when it was answered.
        index: Index,
        /// The answer.
        answer: Bytes,
    },
    /// An error that claims the operation did not take effect and never will.
    NotApplied {
        /// When the error reached the client.
        returned: u64,
    },
    /// Nobody knows: it timed out, its node crashed, it was dropped, or it is still open.
    Unknown,
}

/// One thing a client asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Who asked.
    pub client: u32,
    /// The node that was asked.
    pub node: NodeId,
    /// Whether it is a command or a query.
    pub kind: Kind,
    /// The command or the query.
    pub input: Bytes,
    /// When the client asked.
    pub invoked: u64,
    /// What became of it, as far as the client knows.
    pub end: End,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match self.kind {
            Kind::Write => "write",
            Kind::Read => "read",
        };
        let (client, node, input) = (self.client, self.node, self.input.escape_ascii());
        write!(f, "client {client} → {node} {verb} \"{input}\" [{}, ", self.invoked)?;
        match &self.end {
            End::Answered { returned, index, answer } => {
                write!(f, "{returned}] = \"{}\" at {index}", answer.escape_ascii())
            }
            End::NotApplied { returned } => write!(f, "{returned}] not applied"),
            End::Unknown => write!(f, "∞) unknown"),
        }
    }
}

/// All operations of a run, by invocation.
///
/// ```
/// use raft_core::{Index, NodeId};
/// use raft_sim::history::{End, History, Kind};
/// let node = NodeId::new(1).expect("above zero");
/// let mut history = History::default();
/// let write = history.invoke(3, 0, node, Kind::Write, "key\0one".into());
/// history.end(write, End::Answered { returned: 9, index: Index::new(2), answer: "".into() });
/// assert_eq!(history.to_string(), "#0 client 0 → n1 write \"key\\x00one\" [3, 9] = \"\" at 2\n");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    operations: Vec<Operation>,
}

impl History {
    /// A client asks for something now. Returns the number of the operation, by which it is ended;
    /// until then its outcome is unknown.
    ///
    /// # Panics
    ///
    /// If an earlier operation was invoked later.
    pub fn invoke(
        &mut self,
        now: u64,
        client: u32,
        node: NodeId,
        kind: Kind,
        input: Bytes,
    ) -> usize {
        let last = self.operations.last().map_or(0, |operation| operation.invoked);
        assert!(last <= now, "a history is written in the order of events");
        let end = End::Unknown;
        self.operations.push(Operation { client, node, kind, input, invoked: now, end });
        self.operations.len() - 1
    }

    /// The client learned what became of an operation.
    ///
    /// # Panics
    ///
    /// If there is no such operation, if it has ended, or if it would end before it began.
    pub fn end(&mut self, number: usize, end: End) {
        let operation = self.operations.get_mut(number).expect("only invoked operations end");
        assert!(operation.end == End::Unknown, "an operation ends once");
        if let End::Answered { returned, .. } | End::NotApplied { returned } = &end {
            assert!(operation.invoked <= *returned, "nothing returns before it was invoked");
        }
        operation.end = end;
    }

    /// The operations by invocation; the place of an operation is its number.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, operation) in self.operations.iter().enumerate() {
            writeln!(f, "#{number} {operation}")?;
        }
        Ok(())
    }
}
