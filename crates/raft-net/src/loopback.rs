//! An in-process transport for tests and examples: a hub that nodes join.
//!
//! * Messages pass through the real codec, and nodes meet by the rules of the real handshake.
//! * A message is in the other node's inbox when `send` returns: no task, no clock, no order of
//!   threads. A full inbox says [`SendError::Full`] where TCP would make the sender wait.
//! * [`Loopback::cut`] separates two nodes, and both are told as if a connection broke; a fetch
//!   between them breaks off.
//!
//! Read next: `loopback/fetch.rs`.

mod fetch;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::BytesMut;
use raft_core::codec::{decode_message, encode_message};
use raft_core::{ChunkSink, ChunkStore, Envelope, GroupId, Identity, NodeId, SnapshotId};
use tokio::runtime::Handle;

use self::fetch::{Crossing, Shelf};
use crate::fetch::OpenSink;
use crate::hello::{Hello, Purpose, Refusal, Strangers, VersionRange, judge};
use crate::stats::{PeerStats, RefusalCount, SnapshotStats};
use crate::{Arrival, Class, Inbox, NetError, NetStats, Roster, SendError, Transport};

/// A network inside one process. Clones are the same network.
#[derive(Clone, Debug, Default)]
pub struct Loopback {
    hub: Arc<Mutex<Hub>>,
}

impl Loopback {
    /// A network without nodes and without cuts.
    pub fn network() -> Self {
        Self::default()
    }

    /// A transport on this network; it is there once it is started.
    pub fn join(&self) -> LoopbackTransport {
        LoopbackTransport { network: self.clone(), seat: Mutex::new(Seat::default()) }
    }

    /// Separates two nodes, in both directions.
    pub fn cut(&self, a: NodeId, b: NodeId) {
        self.change(|hub| {
            hub.cuts.insert((a.min(b), a.max(b)));
        });
    }

    /// Separates a node from all others, also from those that join later.
    pub fn isolate(&self, node: NodeId) {
        self.change(|hub| {
            hub.isolated.insert(node);
        });
    }

    /// Mends all cuts.
    pub fn heal(&self) {
        self.change(|hub| {
            hub.cuts.clear();
            hub.isolated.clear();
        });
    }

    /// Changes the network, then tells each node what that means for it.
    fn change<T>(&self, change: impl FnOnce(&mut Hub) -> T) -> T {
        let mut hub = locked(&self.hub);
        let result = change(&mut hub);
        let told = hub.relink();
        drop(hub); // a host may send from within `deliver`
        for (inbox, arrival) in told {
            inbox.deliver(vec![arrival]);
        }
        result
    }
}

/// Everything shared: who is there, what is cut, who reaches whom.
#[derive(Debug, Default)]
struct Hub {
    nodes: BTreeMap<NodeId, Node>,
    cuts: BTreeSet<(NodeId, NodeId)>,
    isolated: BTreeSet<NodeId>,
    links: BTreeMap<(NodeId, NodeId), Link>,
    /// Fetches under way, by their number.
    crossings: BTreeMap<u64, Crossing>,
    /// How many fetches there were.
    crossed: u64,
}

#[derive(Debug)]
struct Node {
    identity: Identity,
    inbox: Inbox,
    roster: Roster,
    peers: BTreeMap<NodeId, PeerStats>,
    refused: BTreeMap<NodeId, RefusalCount>,
    store: Shelf,
    snapshots: SnapshotStats,
}

/// What became of the dialling of one node by another.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Link {
    Up,
    Cut,
    Refused(Refusal),
}

impl Hub {
    /// Compares who reaches whom with what was so before; gives what is to be told.
    fn relink(&mut self) -> Vec<(Inbox, Arrival)> {
        let mut links = BTreeMap::new();
        for (&from, dialer) in &self.nodes {
            for (&to, acceptor) in self.nodes.iter().filter(|(to, _)| **to != from) {
                links.insert((from, to), self.link(from, dialer, to, acceptor));
            }
        }
        let before = std::mem::replace(&mut self.links, links);
        self.cross_out();
        let mut told = Vec::new();
        for (&(from, to), link) in &before {
            let was_up = *link == Link::Up;
            if was_up && self.links.get(&(from, to)) != Some(&Link::Up) {
                let Some(node) = self.nodes.get_mut(&from) else { continue };
                let stats = node.peers.entry(to).or_default();
                (stats.is_connected, stats.breaks) = (false, stats.breaks + 1);
                told.push((node.inbox.clone(), Arrival::PeerDown(to)));
            }
        }
        for (&(from, to), link) in &self.links {
            if before.get(&(from, to)) != Some(link) {
                told.extend(tell(&mut self.nodes, from, to, link));
            }
        }
        told
    }

    /// Whether the network, the roster of `me` or an earlier meeting named this node.
    fn knows(&self, me: NodeId, node: NodeId) -> bool {
        let is_remembered = self
            .nodes
            .get(&me)
            .is_some_and(|own| own.roster.contains_key(&node) || own.peers.contains_key(&node));
        node != me && (is_remembered || self.nodes.contains_key(&node))
    }

    fn link(&self, from: NodeId, dialer: &Node, to: NodeId, acceptor: &Node) -> Link {
        let is_isolated = self.isolated.contains(&from) || self.isolated.contains(&to);
        if is_isolated || self.cuts.contains(&(from.min(to), from.max(to))) {
            return Link::Cut;
        }
        let hello = Hello {
            versions: VersionRange::SPOKEN,
            identity: dialer.identity,
            to,
            purpose: Purpose::Messages(Class::Control),
            address: String::new(),
        };
        match judge(&hello, acceptor.identity, &acceptor.roster, Strangers::Welcome) {
            Ok(_) => Link::Up,
            Err(refusal) => Link::Refused(refusal),
        }
    }
}

/// Counts a link that is new, and says what its dialer is told.
fn tell(
    nodes: &mut BTreeMap<NodeId, Node>,
    from: NodeId,
    to: NodeId,
    link: &Link,
) -> Option<(Inbox, Arrival)> {
    let peer = nodes.get(&to)?.identity.peer;
    if let Link::Refused(refusal) = link {
        let refused = &mut nodes.get_mut(&to)?.refused;
        let before = refused.remove(&from);
        refused.insert(from, RefusalCount::again(before, refusal.clone()));
    }
    let node = nodes.get_mut(&from)?;
    let stats = node.peers.entry(to).or_default();
    let arrival = match link {
        Link::Up => {
            (stats.is_connected, stats.connects) = (true, stats.connects + 1);
            stats.incarnation = Some(peer.incarnation);
            Arrival::PeerUp(peer)
        }
        Link::Cut => return None,
        Link::Refused(refusal) => {
            let before = stats.refused_by.take();
            stats.refused_by = Some(RefusalCount::again(before, refusal.clone()));
            Arrival::Refused { node: to, refusal: refusal.clone() }
        }
    };
    Some((node.inbox.clone(), arrival))
}

/// One node's place on a [`Loopback`] network.
#[derive(Debug)]
pub struct LoopbackTransport {
    network: Loopback,
    seat: Mutex<Seat>,
}

/// Where a transport is in its life.
#[derive(Debug, Default)]
struct Seat {
    stage: Stage,
    /// What was set before the start.
    roster: Roster,
    store: Shelf,
    /// Where fetches run; `None` before the start, and after a start without a runtime.
    runtime: Option<Handle>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    New,
    Running(NodeId),
    Stopped,
}

impl LoopbackTransport {
    fn running(&self) -> Option<NodeId> {
        match locked(&self.seat).stage {
            Stage::Running(node) => Some(node),
            Stage::New | Stage::Stopped => None,
        }
    }
}

impl Transport for LoopbackTransport {
    fn start(&self, me: Identity, inbox: Inbox) -> Result<(), NetError> {
        let node = me.peer.node;
        let mut seat = locked(&self.seat);
        if seat.stage != Stage::New {
            return Err(NetError::AlreadyStarted);
        }
        let mut hub = locked(&self.network.hub);
        if hub.nodes.contains_key(&node) {
            return Err(NetError::Taken { node });
        }
        let (peers, refused) = (BTreeMap::new(), BTreeMap::new());
        let (roster, store) = (std::mem::take(&mut seat.roster), std::mem::take(&mut seat.store));
        let snapshots = SnapshotStats::default();
        let seated = Node { identity: me, inbox, roster, peers, refused, store, snapshots };
        hub.nodes.insert(node, seated);
        seat.runtime = Handle::try_current().ok();
        seat.stage = Stage::Running(node);
        drop((hub, seat));
        self.network.change(|_| ());
        Ok(())
    }

    fn set_roster(&self, roster: Roster) {
        let mut seat = locked(&self.seat);
        match seat.stage {
            Stage::New => seat.roster = roster,
            Stage::Running(node) => {
                drop(seat);
                self.network.change(|hub| {
                    if let Some(node) = hub.nodes.get_mut(&node) {
                        node.roster = roster;
                    }
                });
            }
            Stage::Stopped => {}
        }
    }

    fn send(&self, envelope: Envelope) -> Result<(), SendError> {
        let Some(me) = self.running() else { return Err(SendError::Stopped) };
        let (from, to) = (envelope.message.from.node, envelope.message.to);
        assert!(from == me, "a node sends in its own name only");
        let mut bytes = BytesMut::new();
        encode_message(&envelope.message, &mut bytes);
        let class = Class::of(&envelope.message.body);

        let mut hub = locked(&self.network.hub);
        if !hub.knows(me, to) {
            return Err(SendError::Unknown { to });
        }
        let is_up = hub.links.get(&(me, to)) == Some(&Link::Up);
        let incarnation = hub.nodes.get(&me).map(|node| node.identity.peer.incarnation);
        let Some(incarnation) = incarnation else { return Err(SendError::Stopped) };
        let inbox = hub.nodes.get(&to).filter(|_| is_up).map(|node| node.inbox.clone());
        let full = inbox.as_ref().is_some_and(|inbox| !inbox.has_room(class));
        let Some(stats) = hub.nodes.get_mut(&me).map(|node| node.peers.entry(to).or_default())
        else {
            return Err(SendError::Stopped);
        };
        let Some(inbox) = inbox else {
            stats.dropped.down += 1;
            return Err(SendError::Down { to });
        };
        if full {
            stats.dropped.full += 1;
            let queued_bytes = inbox.used_bytes(class);
            return Err(SendError::Full { to, queued_bytes, bytes_max: inbox.bytes_max(class) });
        }
        let len = bytes.len() as u64;
        stats.sent.add(len);
        if let Some(node) = hub.nodes.get_mut(&to) {
            node.peers.entry(me).or_default().received.add(len);
        }
        drop(hub); // a host may send from within `deliver`
        let message = decode_message(bytes.freeze(), incarnation)
            .expect("what the codec encodes, it decodes");
        let envelope = Envelope { group: envelope.group, message };
        inbox.deliver(vec![inbox.admit(envelope, len)]);
        Ok(())
    }

    fn serve(&self, store: Arc<dyn ChunkStore>) {
        let mut seat = locked(&self.seat);
        match seat.stage {
            Stage::New => seat.store = Shelf(Some(store)),
            Stage::Running(node) => {
                if let Some(node) = locked(&self.network.hub).nodes.get_mut(&node) {
                    node.store = Shelf(Some(store));
                }
            }
            Stage::Stopped => {}
        }
    }

    fn fetch(&self, from: NodeId, group: GroupId, id: SnapshotId, into: Box<dyn ChunkSink>) {
        let sink = OpenSink::new(into);
        let seat = locked(&self.seat);
        let (stage, runtime) = (seat.stage, seat.runtime.clone());
        drop(seat);
        match (stage, runtime) {
            (Stage::Running(me), Some(runtime)) => {
                drop(runtime.spawn(self.network.fetch(me, from, (group, id), sink)));
            }
            (Stage::New | Stage::Running(_) | Stage::Stopped, _) => sink.close_aside(),
        }
    }

    fn stats(&self) -> NetStats {
        let Some(me) = self.running() else { return NetStats::default() };
        let hub = locked(&self.network.hub);
        let Some(node) = hub.nodes.get(&me) else { return NetStats::default() };
        NetStats {
            peers: node.peers.clone(),
            refused: node.refused.clone(),
            inbox_control_bytes: node.inbox.used_bytes(Class::Control),
            inbox_bulk_bytes: node.inbox.used_bytes(Class::Bulk),
            snapshots: node.snapshots,
            ..NetStats::default()
        }
    }

    fn local_addr(&self) -> Option<SocketAddr> {
        None
    }

    fn stop(&self) {
        let stage = std::mem::replace(&mut locked(&self.seat).stage, Stage::Stopped);
        if let Stage::Running(node) = stage {
            self.network.change(|hub| {
                hub.nodes.remove(&node);
            });
        }
    }
}

impl Drop for LoopbackTransport {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A panic elsewhere leaves plain numbers behind; there is nothing to protect from them.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
