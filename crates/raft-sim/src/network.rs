//! The network: one-way links that lose, double, delay, reorder, damage, clog and are cut.
//!
//! * Messages pass through the real codec, inside a frame with a checksum as on a real connection.
//! * A message that was kept may be sent again at any time, also to a process that was started
//!   since.
//! * Whatever arrives with a wrong checksum is counted and dropped; the codec is shown the bytes
//!   all the same, for it must not panic.
//!
//! Read next: `nemesis.rs`, which breaks links.

use bytes::{BufMut, Bytes, BytesMut};
use raft_core::codec::{decode_message, encode_message};
use raft_core::{Body, Checksum, Message, NodeId, Peer};

use crate::choice::{Choices, Site};

/// How the network is when nobody breaks it. Times in nanoseconds, chances in a million.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetworkProfile {
    /// Least time on the way.
    pub delay_ns: u64,
    /// What a message may take longer.
    pub jitter_ns: u64,
    /// Messages lost.
    pub loss: u64,
    /// Messages that arrive twice.
    pub double: u64,
    /// Messages kept for much later.
    pub keep: u64,
    /// Messages damaged.
    pub corrupt: u64,
    /// Whether messages of a link may overtake each other.
    pub reorders: bool,
    /// Messages under way on one link before it takes no more.
    pub capacity: u32,
}

/// A message on its way.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) number: u64,
    pub(crate) from: Peer,
    pub(crate) to: NodeId,
    pub(crate) frame: Bytes,
    pub(crate) is_damaged: bool,
}

/// A link from one node to another.
#[derive(Clone, Debug, Default)]
struct Link {
    is_cut: bool,
    /// What its way takes longer than others, always.
    length_ns: u64,
    /// Nothing arrives before this moment.
    clogged_until: u64,
    slow_until: u64,
    /// When the last message arrives.
    last: u64,
    under_way: u32,
    /// Until when what happens more often.
    loses_until: u64,
    doubles_until: u64,
    keeps_until: u64,
    corrupts_until: u64,
    reorders_until: u64,
}

/// What a burst makes more frequent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Burst {
    Loss,
    Double,
    Late,
    Corrupt,
    Reorder,
    Slow,
    Clog,
}

/// What becomes of a message that is sent.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    /// Arrivals: when, and what.
    pub(crate) arrivals: Vec<(u64, Packet)>,
    /// The number of the message, also if it never arrives.
    pub(crate) number: u64,
    /// Why the message itself will not arrive.
    pub(crate) vanished: Option<&'static str>,
    pub(crate) overtakes: bool,
}

/// All links.
#[derive(Debug)]
pub(crate) struct Network {
    nodes: usize,
    links: Vec<Link>,
    pub(crate) profile: NetworkProfile,
    /// Messages kept for later, at most [`KEPT_MAX`].
    kept: Vec<Packet>,
    packets: u64,
    buffer: BytesMut,
}

/// Messages kept for later.
const KEPT_MAX: usize = 64;

/// During a burst this happens to so many messages in a million.
const BURST_CHANCE: u64 = 300_000;

/// What a slow link takes longer: up to 300 ms.
const SLOW_NS: u64 = 300_000_000;

impl Network {
    pub(crate) fn new(nodes: usize, profile: NetworkProfile) -> Self {
        Self {
            nodes,
            links: vec![Link::default(); nodes * nodes],
            profile,
            kept: Vec::new(),
            packets: 0,
            buffer: BytesMut::new(),
        }
    }

    fn link(&mut self, from: NodeId, to: NodeId) -> &mut Link {
        let at = place(from) * self.nodes + place(to);
        &mut self.links[at]
    }

    /// Packs a message into a frame: a checksum, then the message.
    fn pack(&mut self, message: &Message) -> Bytes {
        self.buffer.clear();
        self.buffer.put_u32_le(0);
        encode_message(message, &mut self.buffer);
        let sum = Checksum::of(&self.buffer[4..]);
        self.buffer[..4].copy_from_slice(&sum.get().to_le_bytes());
        Bytes::copy_from_slice(&self.buffer)
    }

    /// Whether a link takes another message.
    pub(crate) fn has_room(&mut self, from: NodeId, to: NodeId) -> bool {
        let capacity = self.profile.capacity;
        self.link(from, to).under_way < capacity
    }

    /// Sends a message: decides when, how often and whether it arrives.
    pub(crate) fn send(&mut self, now: u64, message: &Message, choices: &Choices) -> Sent {
        let (from, to) = (message.from, message.to);
        let frame = self.pack(message);
        let profile = self.profile;
        let link = self.link(from.node, to);
        let often = |until: u64, usual| if until > now { BURST_CHANCE } else { usual };
        let lost = choices.chance(Site::Loss, often(link.loses_until, profile.loss));
        let cut = link.is_cut;
        let doubled = choices.chance(Site::Double, often(link.doubles_until, profile.double));
        // Heartbeats are many and say little: what changes something is worth keeping.
        let worth = if is_heartbeat(message) { 1 } else { 8 };
        let kept = choices.chance(Site::Keep, worth * often(link.keeps_until, profile.keep));
        let damaged = choices.chance(Site::Corrupt, often(link.corrupts_until, profile.corrupt));
        let packet = self.packet(from, to, frame);
        let mut sent = Sent { number: packet.number, ..Sent::default() };
        if kept {
            if self.kept.len() == KEPT_MAX {
                self.kept.remove(0);
            }
            self.kept.push(packet.clone());
        }
        if cut || lost {
            sent.vanished = Some(if cut { "cut" } else { "lost" });
            return sent;
        }
        if doubled {
            let double = self.packet(from, to, packet.frame.clone());
            let (at, _) = self.arrival(now, &double, choices);
            sent.arrivals.push((at, double));
        }
        let packet = if damaged { damage(&packet, choices) } else { packet };
        let (at, overtakes) = self.arrival(now, &packet, choices);
        sent.overtakes = overtakes;
        sent.arrivals.insert(0, (at, packet));
        sent
    }

    /// When something that is not a message of the protocol arrives; `None` if it is lost.
    pub(crate) fn travel(
        &mut self,
        now: u64,
        (from, to): (NodeId, NodeId),
        choices: &Choices,
    ) -> Option<u64> {
        let profile = self.profile;
        let link = self.link(from, to);
        let loss = if link.loses_until > now { BURST_CHANCE } else { profile.loss };
        let (clogged, length) = (link.clogged_until, link.length_ns);
        if link.is_cut || choices.chance(Site::Snapshot, loss) {
            return None;
        }
        let jitter = choices.choose(Site::Snapshot, profile.jitter_ns.max(1));
        Some((now + profile.delay_ns + length + jitter).max(clogged))
    }

    fn packet(&mut self, from: Peer, to: NodeId, frame: Bytes) -> Packet {
        self.packets += 1;
        Packet { number: self.packets, from, to, frame, is_damaged: false }
    }

    /// When a packet arrives that leaves now, and whether it overtakes another.
    fn arrival(&mut self, now: u64, packet: &Packet, choices: &Choices) -> (u64, bool) {
        let profile = self.profile;
        let link = self.link(packet.from.node, packet.to);
        let mut at = now + profile.delay_ns + link.length_ns;
        at += choices.choose(Site::Delay, profile.jitter_ns);
        if link.slow_until > now {
            at += choices.choose(Site::Delay, SLOW_NS);
        }
        at = at.max(link.clogged_until);
        let reorders = profile.reorders || link.reorders_until > now;
        if reorders && link.reorders_until > now {
            at += choices.choose(Site::Delay, SLOW_NS / 10);
        }
        if !reorders {
            at = at.max(link.last);
        }
        let overtakes = at < link.last;
        link.last = link.last.max(at);
        link.under_way += 1;
        (at, overtakes)
    }

    /// A packet leaves the network. `false` if its link was cut meanwhile.
    pub(crate) fn arrived(&mut self, packet: &Packet) -> bool {
        let link = self.link(packet.from.node, packet.to);
        link.under_way = link.under_way.saturating_sub(1);
        !link.is_cut
    }

    /// Sends one of the messages that were kept again: to this node, or to any.
    pub(crate) fn send_kept(
        &mut self,
        now: u64,
        to: Option<NodeId>,
        choices: &Choices,
    ) -> Option<(u64, Packet)> {
        let meant = |packet: &&Packet| to.is_none_or(|to| packet.to == to);
        let kept: Vec<&Packet> = self.kept.iter().filter(meant).collect();
        if kept.is_empty() {
            return None;
        }
        let kept = (*choices.pick(Site::Keep, &kept)).clone();
        let packet = self.packet(kept.from, kept.to, kept.frame);
        let (at, _) = self.arrival(now, &packet, choices);
        Some((at, packet))
    }

    pub(crate) fn cut(&mut self, from: NodeId, to: NodeId) {
        self.link(from, to).is_cut = true;
    }

    /// Makes the way from one node to another take longer, always.
    pub(crate) fn lengthen(&mut self, from: NodeId, to: NodeId, nanos: u64) {
        self.link(from, to).length_ns = nanos;
    }

    pub(crate) fn mend(&mut self, from: NodeId, to: NodeId) {
        self.link(from, to).is_cut = false;
    }

    /// Makes something frequent on a link, until then.
    pub(crate) fn burst(&mut self, (from, to): (NodeId, NodeId), what: Burst, until: u64) {
        let link = self.link(from, to);
        let target = match what {
            Burst::Loss => &mut link.loses_until,
            Burst::Double => &mut link.doubles_until,
            Burst::Late => &mut link.keeps_until,
            Burst::Corrupt => &mut link.corrupts_until,
            Burst::Reorder => &mut link.reorders_until,
            Burst::Slow => &mut link.slow_until,
            Burst::Clog => &mut link.clogged_until,
        };
        *target = until.max(*target);
    }

    /// Every link works, at its usual pace, and loses nothing.
    pub(crate) fn heal(&mut self, now: u64) {
        for link in &mut self.links {
            *link = Link { under_way: link.under_way, last: link.last, ..Link::default() };
            link.last = link.last.min(now + SLOW_NS);
        }
        let profile = &mut self.profile;
        (profile.loss, profile.double, profile.keep, profile.corrupt) = (0, 0, 0, 0);
        self.kept.clear();
    }
}

/// An append without entries, or the answer to any.
pub(crate) fn is_heartbeat(message: &Message) -> bool {
    match &message.body {
        Body::AppendEntries(request) => request.slice.is_empty(),
        Body::AppendEntriesResponse(_) => true,
        Body::PreVote(_)
        | Body::PreVoteResponse(_)
        | Body::RequestVote(_)
        | Body::RequestVoteResponse(_)
        | Body::InstallSnapshot(_)
        | Body::InstallSnapshotResponse(_)
        | Body::ReadIndex(_)
        | Body::ReadIndexResponse(_)
        | Body::Propose(_)
        | Body::ProposeResponse(_)
        | Body::TimeoutNow => false,
    }
}

/// Opens a frame. `None` if its checksum is wrong, as it is for every damaged one.
pub(crate) fn open(packet: &Packet) -> Option<Message> {
    let body = packet.frame.slice(4..);
    let sum = packet.frame.first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
    let whole = sum == Some(Checksum::of(&body).get());
    // The decoder must bear any bytes; what it makes of damaged ones is thrown away.
    let decoded = decode_message(body, packet.from.incarnation);
    assert!(whole != packet.is_damaged, "a checksum tells what is damaged and what is not");
    if whole { Some(decoded.expect("the codec reads what it wrote")) } else { None }
}

fn damage(packet: &Packet, choices: &Choices) -> Packet {
    let mut bytes = packet.frame.to_vec();
    let at = choices.choose(Site::Corrupt, bytes.len() as u64);
    let bit = choices.choose(Site::Corrupt, 8);
    bytes[usize::try_from(at).expect("inside a frame")] ^= 1 << bit;
    Packet { frame: bytes.into(), is_damaged: true, ..packet.clone() }
}

/// Nodes are numbered from one.
pub(crate) fn place(node: NodeId) -> usize {
    usize::try_from(node.get() - 1).expect("a world has few nodes")
}
