//! What an operator may see of a transport: plain numbers, read at one moment.
//!
//! Read next: `tcp.rs`, where they are counted.

use std::collections::BTreeMap;
use std::time::Duration;

use raft_core::{FetchOutcome, Incarnation, NodeId};

use crate::hello::Refusal;

/// Everything a transport counted since it was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetStats {
    /// By node: those in the roster and those that introduced themselves.
    pub peers: BTreeMap<NodeId, PeerStats>,
    /// Connections accepted, before anybody said who they were.
    pub accepted: u64,
    /// What was wrong with connections that ended before their node was known.
    pub strangers: Faults,
    /// Handshakes this node refused, by who asked (at most a fixed number of askers).
    pub refused: BTreeMap<NodeId, RefusalCount>,
    /// Votes, heartbeats and answers that arrived and were not taken in yet, in bytes.
    pub inbox_control_bytes: u64,
    /// Entries and commands that arrived and were not taken in yet, in bytes.
    pub inbox_bulk_bytes: u64,
    /// Snapshots on their way, from and to this node.
    pub snapshots: SnapshotStats,
}

/// What was counted about snapshots on their way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SnapshotStats {
    /// Chunks that other nodes gave to this one, whole.
    pub fetched: Chunks,
    /// Chunks that this node gave to others.
    pub served: Chunks,
    /// Chunks that arrived damaged, or were not those asked for; they were asked for again.
    pub damaged: u64,
    /// Fetches of this node that began.
    pub begun: u64,
    /// Fetches that brought every chunk.
    pub complete: u64,
    /// Fetches that broke off.
    pub broken: u64,
    /// Fetches of a snapshot that the other node did not hold any more.
    pub gone: u64,
    /// Fetches that ended because a chunk was not taken.
    pub failed: u64,
    /// Nodes that fetch from this one at present.
    pub serving: u64,
    /// Requests of other nodes that were turned away because enough were served already.
    pub busy: u64,
    /// Requests of other nodes that were answered with "gone".
    pub missed: u64,
    /// Requests of other nodes for a chunk that could not be read, or is too large to be sent.
    pub unreadable: u64,
}

impl SnapshotStats {
    /// Fetches of this node that are under way.
    pub const fn fetching(&self) -> u64 {
        self.begun - self.complete - self.broken - self.gone - self.failed
    }

    pub(crate) const fn end(&mut self, outcome: &FetchOutcome) {
        match outcome {
            FetchOutcome::Complete => self.complete += 1,
            FetchOutcome::Broken => self.broken += 1,
            FetchOutcome::Gone => self.gone += 1,
            FetchOutcome::Failed(_) => self.failed += 1,
        }
    }
}

/// Chunks of snapshots and their bytes as they are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chunks {
    /// Number of chunks, manifests included.
    pub chunks: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Chunks {
    /// Counts one chunk.
    pub(crate) const fn add(&mut self, bytes: u64) {
        self.chunks += 1;
        self.bytes += bytes;
    }
}

/// What was counted about one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerStats {
    /// Whether messages reach it at present.
    pub is_connected: bool,
    /// The incarnation it showed last.
    pub incarnation: Option<Incarnation>,
    /// Messages written to it.
    pub sent: Traffic,
    /// Messages read from it.
    pub received: Traffic,
    /// Votes, heartbeats and answers that wait to be written, in bytes.
    pub queued_control_bytes: u64,
    /// Entries and commands that wait to be written, in bytes.
    pub queued_bulk_bytes: u64,
    /// Messages to it that were dropped, by reason.
    pub dropped: Dropped,
    /// What was wrong with connections from and to it.
    pub faults: Faults,
    /// How often it was reached.
    pub connects: u64,
    /// How often the connection to it broke after it had been reached.
    pub breaks: u64,
    /// The refusal it gave this node last, and how many there were.
    pub refused_by: Option<RefusalCount>,
    /// Round trips of ping frames.
    pub round_trips: RoundTrips,
}

/// Messages and their bytes, framing included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Number of messages.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Traffic {
    /// Counts one message.
    pub(crate) const fn add(&mut self, bytes: u64) {
        self.messages += 1;
        self.bytes += bytes;
    }
}

/// Messages that were dropped before they were written, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// The queue was full.
    pub full: u64,
    /// The node could not be reached.
    pub down: u64,
    /// The message does not fit into a frame.
    pub too_large: u64,
    /// The connection broke while the message waited.
    pub broken: u64,
}

/// The last refusal, and how many there were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusalCount {
    /// The last one.
    pub last: Refusal,
    /// How many, of whatever reason.
    pub times: u64,
}

impl RefusalCount {
    /// Counts one more.
    pub(crate) fn again(before: Option<Self>, refusal: Refusal) -> Self {
        Self { last: refusal, times: before.map_or(0, |before| before.times) + 1 }
    }
}

/// What can be wrong with a connection. Each closes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Fault {
    /// The first bytes are not those of this protocol.
    NotRaft,
    /// The connection ended inside the handshake.
    Truncated,
    /// Nothing was said for too long.
    Silent,
    /// A frame of a version that was not agreed on.
    Version,
    /// A frame whose bytes do not give its checksum.
    Checksum,
    /// A frame of a kind that is unknown, or out of place.
    Kind,
    /// A frame longer than allowed.
    Oversize,
    /// A frame whose body cannot be decoded.
    Malformed,
    /// A message in the name of, or for, another node, or of the other class.
    Misplaced,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::NotRaft,
        Self::Truncated,
        Self::Silent,
        Self::Version,
        Self::Checksum,
        Self::Kind,
        Self::Oversize,
        Self::Malformed,
        Self::Misplaced,
    ];

    /// The name, for metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotRaft => "not_raft",
            Self::Truncated => "truncated",
            Self::Silent => "silent",
            Self::Version => "version",
            Self::Checksum => "checksum",
            Self::Kind => "kind",
            Self::Oversize => "oversize",
            Self::Malformed => "malformed",
            Self::Misplaced => "misplaced",
        }
    }
}

/// How often each fault was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults([u64; Fault::ALL.len()]);

impl Faults {
    /// How often this one.
    pub const fn count(&self, fault: Fault) -> u64 {
        self.0[fault as usize]
    }

    /// How often any.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    pub(crate) const fn add(&mut self, fault: Fault) {
        self.0[fault as usize] += 1;
    }
}

/// Round trips in buckets that double: bucket `n` counts those below 2ⁿ microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoundTrips([u64; Self::BUCKETS]);

impl RoundTrips {
    /// The last bucket also takes what is longer (half a minute).
    pub const BUCKETS: usize = 26;

    /// How many were measured.
    pub fn count(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The counts, by bucket.
    pub const fn buckets(&self) -> &[u64; Self::BUCKETS] {
        &self.0
    }

    /// A time that at least `percent` of all round trips did not exceed; `None` before the first.
    pub fn percentile(&self, percent: u8) -> Option<Duration> {
        let wanted = (self.count() * u64::from(percent.min(100))).div_ceil(100).max(1);
        let mut seen = 0;
        for (bucket, count) in self.0.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return Some(Duration::from_micros(1 << bucket));
            }
        }
        None
    }

    pub(crate) fn add(&mut self, round_trip: Duration) {
        let micros = u64::try_from(round_trip.as_micros()).unwrap_or(u64::MAX);
        let bucket = (u64::BITS - micros.leading_zeros()) as usize;
        self.0[bucket.min(Self::BUCKETS - 1)] += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A round trip is counted in the first bucket whose bound is above it, and a percentile names
    /// the bound of the bucket that reaches it.
    #[test]
    fn round_trips_fall_into_doubling_buckets() {
        let mut trips = RoundTrips::default();
        assert_eq!(trips.percentile(50), None);
        for micros in [0, 1, 3, 100, 1 << 40] {
            trips.add(Duration::from_micros(micros));
        }
        assert_eq!(trips.count(), 5);
        assert_eq!(&trips.buckets()[..3], &[1, 1, 1]);
        assert_eq!(trips.percentile(60), Some(Duration::from_micros(4)));
        assert_eq!(trips.percentile(80), Some(Duration::from_micros(128)));
        assert_eq!(trips.buckets()[RoundTrips::BUCKETS - 1], 1, "the longest are not lost");
    }
}
