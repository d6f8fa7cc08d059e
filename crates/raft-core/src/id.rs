//! Newtypes for every number of the protocol, so that the compiler refuses to mix them.
//!
//! * Fields are private: a term or an index is made by `new` from the outside (wire, disk) or by
//!   `next` from its predecessor, never by arithmetic in passing.
//! * [`NodeId`] is never zero: "nobody" is `Option<NodeId>`, which costs no byte.
//!
//! Read next: `entry.rs`, where [`Term`] and [`Index`] become an entry id.

use core::fmt;
use core::num::NonZeroU64;

/// The number of a node, unique in its cluster for ever. Never zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(NonZeroU64);

impl NodeId {
    /// Makes a node id; `None` for zero, which would mean "nobody".
    ///
    /// ```
    /// use raft_core::NodeId;
    /// assert_eq!(NodeId::new(7).map(NodeId::get), Some(7));
    /// assert_eq!(NodeId::new(0), None);
    /// ```
    pub const fn new(id: u64) -> Option<Self> {
        match NonZeroU64::new(id) {
            Some(id) => Some(Self(id)),
            None => None,
        }
    }

    /// The number itself.
    pub const fn get(self) -> u64 {
        self.0.get()
    }
}

impl From<NonZeroU64> for NodeId {
    fn from(id: NonZeroU64) -> Self {
        Self(id)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Declares a plain counter: ordered, printable, without arithmetic but `next`.
macro_rules! counter {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u64);

        impl $name {
            /// Zero: before the first.
            pub const ZERO: Self = Self(0);

            /// Takes a number that came from a wire, a disk or a caller.
            pub const fn new(number: u64) -> Self {
                Self(number)
            }

            /// The number itself.
            pub const fn get(self) -> u64 {
                self.0
            }

            /// The one after this.
            ///
            /// # Panics
            ///
            /// At the end of 64 bits, which no cluster lives to see.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0.checked_add(1).expect("64-bit counters do not run out"))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

counter! {
    /// A Raft term (§5.1): time divided by elections.
    Term
}
counter! {
    /// The place of an entry in the log; the first entry has index 1 (§5.3).
    Index
}
counter! {
    /// The number of one conversation: a replication session of a leader with one follower, or one
    /// campaign of a candidate. Echoed in answers; never a term.
    Epoch
}
counter! {
    /// The number of a heartbeat round inside one leadership. Echoed in answers.
    Round
}
counter! {
    /// The caller's mark on what it asked. It comes back exactly once, with the outcome.
    Ticket
}
counter! {
    /// Numbers the writes of a node; receipts come back in this order.
    WriteId
}
counter! {
    /// One log with its membership. A node hosts one or many.
    GroupId
}

impl Index {
    /// The one before this.
    ///
    /// # Panics
    ///
    /// For index zero, which has no predecessor.
    #[must_use]
    pub const fn prev(self) -> Self {
        Self(self.0.checked_sub(1).expect("only an index above zero has a predecessor"))
    }

    /// How many indexes lie above `earlier` up to and including this one; zero if none.
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The index `count` places after this one.
    ///
    /// # Panics
    ///
    /// At the end of 64 bits.
    #[must_use]
    pub const fn plus(self, count: u64) -> Self {
        Self(self.0.checked_add(count).expect("64-bit counters do not run out"))
    }
}

/// Declares a 128-bit identity printed as hexadecimal.
macro_rules! identity {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u128);

        impl $name {
            /// Takes a number drawn by a host, or read from a disk or a wire.
            pub const fn new(number: u128) -> Self {
                Self(number)
            }

            /// The number itself.
            pub const fn get(self) -> u128 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

identity! {
    /// The number of a cluster; nodes of different clusters never talk.
    ClusterId
}
identity! {
    /// The random number of one data directory, drawn when it is created. A wiped disk that comes
    /// back has another incarnation, and is not the voter it was.
    Incarnation
}
identity! {
    /// Identifies the content of a snapshot, equal on every node that holds the same bytes.
    SnapshotId
}

/// A node as it introduces itself: its number and the incarnation of its disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Peer {
    /// Which node.
    pub node: NodeId,
    /// Which data directory of it.
    pub incarnation: Incarnation,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.node, self.incarnation)
    }
}

/// What is written once into a data directory and shown in every handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// The cluster this disk belongs to.
    pub cluster: ClusterId,
    /// The node it belongs to, and its own random number.
    pub peer: Peer,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of cluster {}", self.peer, self.cluster)
    }
}
