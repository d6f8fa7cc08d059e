//! Another node as this transport sees it: where it is, what waits for it, what was counted.
//!
//! Read next: `dial.rs`, the task that keeps it reached.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use raft_core::{Incarnation, NodeId};
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::queue::Queue;
use super::{TcpConfig, now};
use crate::stats::PeerStats;
use crate::{Class, PeerAddress};

/// Another node, shared by whoever sends to it, dials it and reads from it.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) node: NodeId,
    pub(super) control: Queue,
    pub(super) bulk: Queue,
    /// Where to dial; the task that dials watches it.
    pub(super) whereabouts: watch::Sender<Whereabouts>,
    /// Rung when the node itself has come by: it is worth dialling again.
    pub(super) sign_of_life: Notify,
    pub(super) complaints: Throttle,
    /// How many readers there were, by class; held while the last of them hands over.
    turns: [Mutex<u64>; 2],
    known: Mutex<Known>,
    counters: Mutex<PeerStats>,
}

/// Where a node is dialled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Whereabouts {
    /// Nobody told yet.
    Unknown,
    /// At this address.
    At(String),
    /// It left the roster.
    Gone,
}

/// What roster and handshakes said about a node.
#[derive(Debug, Default)]
struct Known {
    /// What the roster says; `None` for a node that only introduced itself.
    listed: Option<PeerAddress>,
    /// Where it says it listens.
    shown: String,
    /// The tasks that read from it, by class.
    readers: [Option<Reader>; 2],
}

/// A task that reads from a node.
#[derive(Debug)]
struct Reader {
    task: AbortHandle,
    turn: u64,
    /// What the node showed.
    incarnation: Incarnation,
}

impl Peer {
    pub(super) fn new(node: NodeId, config: &TcpConfig) -> Self {
        Self {
            node,
            control: Queue::new(config.control_queue_bytes_max),
            bulk: Queue::new(config.bulk_queue_bytes_max),
            whereabouts: watch::Sender::new(Whereabouts::Unknown),
            sign_of_life: Notify::new(),
            complaints: Throttle::default(),
            turns: Default::default(),
            known: Mutex::default(),
            counters: Mutex::default(),
        }
    }

    pub(super) fn queue(&self, class: Class) -> &Queue {
        match class {
            Class::Control => &self.control,
            Class::Bulk => &self.bulk,
        }
    }

    /// Takes over what the roster says. Readers of an incarnation it no longer accepts end.
    pub(super) fn list(&self, listed: PeerAddress) {
        let mut known = self.known();
        for reader in &mut known.readers {
            let is_foreign = reader.as_ref().is_some_and(|reader| {
                listed.incarnation.is_some_and(|recorded| recorded != reader.incarnation)
            });
            if is_foreign && let Some(reader) = reader.take() {
                reader.task.abort();
            }
        }
        known.listed = Some(listed);
        self.look_up(&known);
    }

    /// Takes over where the node says it listens; the roster's word counts more.
    pub(super) fn show(&self, address: &str) {
        let mut known = self.known();
        address.clone_into(&mut known.shown);
        self.look_up(&known);
    }

    /// Tells the task that dials where to. What is sent from now on may hope to arrive.
    fn look_up(&self, known: &Known) {
        let listed = known.listed.as_ref().map_or("", |listed| &listed.address);
        let address = if listed.is_empty() { &known.shown } else { listed };
        let now = match address {
            "" => Whereabouts::Unknown,
            address => Whereabouts::At(address.to_owned()),
        };
        self.whereabouts.send_if_modified(|before| {
            // A handshake may still be under way with a node that left; it does not bring it back.
            let is_new = *before != now && *before != Whereabouts::Gone;
            if !is_new {
                return false;
            }
            if matches!(now, Whereabouts::At(_)) {
                self.open();
            }
            *before = now;
            true
        });
    }

    /// Whether the membership has recorded this incarnation, or none.
    pub(super) fn is_accepted(&self, incarnation: Incarnation) -> bool {
        let known = self.known();
        let recorded = known.listed.as_ref().and_then(|listed| listed.incarnation);
        recorded.is_none_or(|recorded| recorded == incarnation)
    }

    /// Whether the roster names it.
    pub(super) fn is_listed(&self) -> bool {
        self.known().listed.is_some()
    }

    /// Lets a new task read from the node, which `spawn` starts with its turn; the one before it,
    /// of the same class, ends. It may be at work on another thread and not notice at once, so from
    /// now on it has nothing to [hand over](Self::hand_over): messages of an older connection never
    /// come behind those of a newer one. Nothing is started for a node that left meanwhile.
    pub(super) fn read_by(
        &self,
        class: Class,
        incarnation: Incarnation,
        spawn: impl FnOnce(u64) -> AbortHandle,
    ) {
        let turn = {
            let mut last = self.turn(class);
            *last += 1;
            *last
        };
        let mut known = self.known();
        let place = &mut known.readers[index(class)];
        let is_overtaken = place.as_ref().is_some_and(|reader| reader.turn > turn);
        if is_overtaken || *self.whereabouts.borrow() == Whereabouts::Gone {
            return;
        }
        if let Some(before) = place.take() {
            before.task.abort();
        }
        *place = Some(Reader { task: spawn(turn), turn, incarnation });
    }

    /// Hands over what the reader with this turn brought; `false` if a newer one took its place.
    pub(super) fn hand_over(&self, class: Class, turn: u64, deliver: impl FnOnce()) -> bool {
        let last = self.turn(class);
        let is_last = *last == turn;
        if is_last {
            deliver();
        }
        is_last
    }

    fn turn(&self, class: Class) -> MutexGuard<'_, u64> {
        self.turns[index(class)].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets messages wait.
    pub(super) fn open(&self) {
        self.control.open();
        self.bulk.open();
    }

    /// Lets no more messages wait, and drops those that do; gives how many that were.
    pub(super) fn close(&self) -> u64 {
        self.control.close() + self.bulk.close()
    }

    /// Hangs up, in both directions, for good: a node that comes back is another peer.
    pub(super) fn leave(&self) {
        self.whereabouts.send_replace(Whereabouts::Gone);
        for reader in self.known().readers.iter_mut().filter_map(Option::take) {
            reader.task.abort();
        }
        self.close();
    }

    /// The counters, to count.
    pub(super) fn counters(&self) -> MutexGuard<'_, PeerStats> {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The counters, to show.
    pub(super) fn stats(&self) -> PeerStats {
        PeerStats {
            queued_control_bytes: self.control.queued_bytes(),
            queued_bulk_bytes: self.bulk.queued_bytes(),
            ..self.counters().clone()
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const fn index(class: Class) -> usize {
    match class {
        Class::Control => 0,
        Class::Bulk => 1,
    }
}

/// Lets one warning through per interval, and counts the others.
#[derive(Debug, Default)]
pub(super) struct Throttle(Mutex<Option<(Instant, u64)>>);

/// Logs are for people: one line about the same thing in ten seconds is enough.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(10);

impl Throttle {
    /// Warns, unless it did so a moment ago; then the line is there for those who debug.
    pub(super) fn warn(&self, complaint: fmt::Arguments<'_>) {
        match self.pass(now()) {
            Pass::Speak { swallowed: 0 } => warn!("{complaint}"),
            Pass::Speak { swallowed } => warn!("{complaint} (and {swallowed} warnings before)"),
            Pass::Swallow => debug!("{complaint}"),
        }
    }

    fn pass(&self, now: Instant) -> Pass {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((passed, swallowed)) = last.as_mut()
            && now.duration_since(*passed) < COMPLAINT_INTERVAL
        {
            *swallowed += 1;
            return Pass::Swallow;
        }
        let swallowed = last.map_or(0, |(_, swallowed)| swallowed);
        *last = Some((now, 0));
        Pass::Speak { swallowed }
    }
}

/// What to do with a warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pass {
    Speak { swallowed: u64 },
    Swallow,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of many warnings in ten seconds one is let through, and the next says how many were not.
    #[tokio::test(start_paused = true)]
    async fn warnings_are_rationed_and_counted() {
        let (throttle, begin) = (Throttle::default(), Instant::now());
        assert_eq!(throttle.pass(begin), Pass::Speak { swallowed: 0 });
        for second in 1..10 {
            assert_eq!(throttle.pass(begin + Duration::from_secs(second)), Pass::Swallow);
        }
        let later = begin + Duration::from_secs(10);
        assert_eq!(throttle.pass(later), Pass::Speak { swallowed: 9 });
    }

    /// Once a newer connection of a class is read, what the older one brought is not handed over
    /// any more; the other class has turns of its own.
    #[tokio::test]
    async fn only_the_newest_reader_hands_over() {
        let peer = Peer::new(NodeId::new(1).unwrap(), &TcpConfig::default());
        let spawn = || tokio::spawn(std::future::pending::<()>()).abort_handle();
        let (mut turns, shown) = (Vec::new(), Incarnation::new(1));
        for class in [Class::Bulk, Class::Control, Class::Bulk] {
            peer.read_by(class, shown, |turn| {
                turns.push(turn);
                spawn()
            });
        }
        let mut handed = Vec::new();
        let mut hand = |class, turn| peer.hand_over(class, turn, || handed.push((class, turn)));
        assert!(!hand(Class::Bulk, turns[0]), "a newer one took its place");
        assert!(hand(Class::Bulk, turns[2]));
        assert!(hand(Class::Control, turns[1]));
        assert_eq!(handed, [(Class::Bulk, turns[2]), (Class::Control, turns[1])]);
    }

    /// A peer that left stays away: a handshake that ends afterwards brings back neither the
    /// dialling nor a reader.
    #[test]
    fn who_left_is_not_brought_back_by_a_late_handshake() {
        let peer = Peer::new(NodeId::new(1).unwrap(), &TcpConfig::default());
        peer.list(PeerAddress::new("listed:1"));
        peer.leave();
        peer.show("shown:1");
        assert_eq!(*peer.whereabouts.borrow(), Whereabouts::Gone);
        peer.read_by(Class::Bulk, Incarnation::new(1), |_| panic!("nobody reads from it"));
    }

    /// The roster's address wins over the one a node shows, and an empty one does not.
    #[test]
    fn the_roster_knows_better_than_the_node() {
        let peer = Peer::new(NodeId::new(1).unwrap(), &TcpConfig::default());
        let here = |peer: &Peer| peer.whereabouts.borrow().clone();
        assert_eq!(here(&peer), Whereabouts::Unknown);
        peer.show("shown:1");
        assert_eq!(here(&peer), Whereabouts::At("shown:1".to_owned()));
        assert!(!peer.is_listed());
        peer.list(PeerAddress::new("listed:1"));
        assert_eq!(here(&peer), Whereabouts::At("listed:1".to_owned()));
        peer.show("shown:2");
        assert_eq!(here(&peer), Whereabouts::At("listed:1".to_owned()));
        peer.list(PeerAddress::default());
        assert_eq!(here(&peer), Whereabouts::At("shown:2".to_owned()));
        peer.leave();
        assert_eq!(here(&peer), Whereabouts::Gone);
    }
}
