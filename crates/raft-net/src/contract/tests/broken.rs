//! Transports that break a law each, built around the loopback: the suite rejects every one.
//!
//! A flaw sits where a host calls ([`Flawed`]), where arrivals pass ([`Tap`]), or around stores and
//! sinks (`broken_fetch.rs`). Without a flaw the
//! same wrapper keeps every law, so that it is the flaw that is found.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use raft_core::{
    Body, ChunkSink, ChunkStore, ClusterId, Entry, Envelope, GroupId, Identity, Incarnation,
    LogSlice, NodeId, Payload, PayloadKind, SnapshotId,
};

use super::super::{Nature, Network, Property, Report, Subject, check};
use super::{LOOPBACK, broken_fetch};
use crate::{
    Arrival, Class, Deliver, Inbox, InboxLimits, Loopback, LoopbackTransport, NetError, NetStats,
    Roster, SendError, SnapshotStats, Transport,
};

/// What a wrapped loopback does wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Flaw {
    /// Nothing.
    #[default]
    None,
    /// Changes a byte of a long payload.
    Corrupts,
    /// Delivers some messages twice.
    Doubles,
    /// Lets some messages be overtaken by the next of their class.
    Reorders,
    /// Loses some messages and tells nobody.
    LosesSome,
    /// Brings some messages to another node too.
    Strays,
    /// Has no patience with a node it has not reached yet.
    ForgetsTheFirst,
    /// Believes what a message says of its sender.
    BelievesClaims,
    /// Sends in whatever name, as itself.
    SpeaksForOthers,
    /// Counts nothing.
    CountsNothing,
    /// Loses what is large.
    LosesLarge,
    /// Says that a message is too large, and of which size another is.
    LiesAboutSizes,
    /// Has a limit and does not look at it.
    TakesTooLarge,
    /// Waits for room.
    Blocks,
    /// Queues votes behind entries.
    OneLane,
    /// Queues without a bound.
    Hoards,
    /// When it is full, pays with a message it takes later.
    ForgetsWhenFull,
    /// Says a bound that is not its own.
    LiesAboutBounds,
    /// Delivers whether there is room or not.
    Floods,
    /// Takes messages to nobody.
    TakesForNobody,
    /// Calls nobody a node that is down.
    MistakesNobody,
    /// Does not say that a node was lost.
    HidesLosses,
    /// Takes messages to a node that is down.
    TakesForTheDead,
    /// Takes a node that comes back for the one that left.
    ForgetsNoFace,
    /// Gives a node up for good.
    GivesUp,
    /// Does not look at clusters.
    MixesClusters,
    /// Does not look at recorded incarnations.
    IgnoresRecords,
    /// Starts as often as it is told.
    StartsAgain,
    /// Goes on after a stop, for those who send to it.
    HearsAfterStop,
    /// Takes messages after a stop.
    TakesAfterStop,
    /// Keeps its inbox for ever.
    KeepsItsInbox,
    /// Stumbles when it is stopped again.
    StumblesOnStop,
    /// Changes chunks.
    ChangesChunks,
    /// Fetches from another node than it was told.
    FetchesElsewhere,
    /// Counts no chunks.
    CountsNoChunks,
    /// Asks for chunks that are here already.
    BeginsAnew,
    /// Takes what is gone for what is merely late.
    HopesForTheGone,
    /// Does not say that a fetch broke.
    LeavesSinksOpen,
    /// Shows damaged chunks to the sink.
    ShowsDamage,
    /// Takes the refusal of a sink for the end.
    HidesRefusals,
    /// Sends nothing while it fetches.
    ChunksFirst,
    /// Fetches while the caller waits.
    FetchesOnTheSpot,
    /// Leaves open what it fetches when it is stopped.
    ForgetsSinksOnStop,
}

/// Each flaw with a law that finds it.
const FLAWS: [(Flaw, &str); 42] = [
    (Flaw::Corrupts, "what_is_sent_arrives_unchanged_and_once"),
    (Flaw::Doubles, "what_is_sent_arrives_unchanged_and_once"),
    (Flaw::Reorders, "messages_of_a_class_arrive_in_order_without_a_gap"),
    (Flaw::LosesSome, "messages_of_a_class_arrive_in_order_without_a_gap"),
    (Flaw::Strays, "a_message_reaches_its_addressee_alone"),
    (Flaw::ForgetsTheFirst, "messages_wait_while_a_node_is_first_dialled"),
    (Flaw::BelievesClaims, "arrivals_carry_the_incarnation_of_the_handshake"),
    (Flaw::SpeaksForOthers, "nobody_speaks_for_another"),
    (Flaw::CountsNothing, "what_is_carried_is_counted"),
    (Flaw::LosesLarge, "large_messages_pass_unchanged"),
    (Flaw::LiesAboutSizes, "too_large_messages_are_refused_with_their_size"),
    (Flaw::TakesTooLarge, "too_large_messages_are_refused_with_their_size"),
    (Flaw::Blocks, "sending_never_blocks"),
    (Flaw::OneLane, "control_overtakes_bulk_that_waits"),
    (Flaw::Hoards, "a_full_queue_says_so_and_forgets_nothing"),
    (Flaw::ForgetsWhenFull, "a_full_queue_says_so_and_forgets_nothing"),
    (Flaw::LiesAboutBounds, "a_full_queue_says_so_and_forgets_nothing"),
    (Flaw::Floods, "a_slow_host_is_not_flooded"),
    (Flaw::TakesForNobody, "an_unknown_node_is_refused"),
    (Flaw::MistakesNobody, "an_unknown_node_is_refused"),
    (Flaw::HidesLosses, "a_lost_node_is_reported_and_refused"),
    (Flaw::TakesForTheDead, "a_lost_node_is_reported_and_refused"),
    (Flaw::ForgetsNoFace, "a_restarted_node_is_reached_again"),
    (Flaw::GivesUp, "a_broken_connection_is_told_and_mended"),
    (Flaw::MixesClusters, "another_cluster_is_not_heard"),
    (Flaw::IgnoresRecords, "another_incarnation_than_recorded_is_refused"),
    (Flaw::StartsAgain, "a_transport_is_started_once"),
    (Flaw::HearsAfterStop, "stop_ends_everything"),
    (Flaw::TakesAfterStop, "stop_ends_everything"),
    (Flaw::KeepsItsInbox, "stop_ends_everything"),
    (Flaw::StumblesOnStop, "stop_ends_everything"),
    (Flaw::ChangesChunks, "every_chunk_arrives_as_it_is_stored"),
    (Flaw::FetchesElsewhere, "every_chunk_arrives_as_it_is_stored"),
    (Flaw::CountsNoChunks, "every_chunk_arrives_as_it_is_stored"),
    (Flaw::BeginsAnew, "a_fetch_goes_on_where_it_stopped"),
    (Flaw::HopesForTheGone, "what_is_gone_is_said_to_be"),
    (Flaw::LeavesSinksOpen, "a_lost_node_breaks_a_fetch"),
    (Flaw::ShowsDamage, "a_damaged_chunk_is_asked_for_again"),
    (Flaw::HidesRefusals, "what_the_sink_refuses_ends_a_fetch"),
    (Flaw::ChunksFirst, "messages_pass_a_fetch"),
    (Flaw::FetchesOnTheSpot, "fetching_never_blocks"),
    (Flaw::ForgetsSinksOnStop, "stop_closes_every_fetch"),
];

/// The wrapper without a flaw keeps every law, so it is not the wrapper that the others fail for.
#[test]
fn the_wrapper_itself_breaks_nothing() {
    let report = examine(Flaw::None, Duration::from_secs(30)).expect("it keeps every law");
    assert_eq!(report.not_run.len(), 1, "{report}");
}

/// Each flaw is found, and the law it breaks is named.
#[test]
fn every_broken_transport_is_rejected_by_the_name_of_its_law() {
    let verdicts = std::thread::scope(|scope| {
        let examine = |(flaw, law)| {
            // What a broken transport does not do, it will not do later either; and one of them
            // makes every law wait.
            let patience = if flaw == Flaw::KeepsItsInbox { 100 } else { 1_000 };
            (flaw, law, scope.spawn(move || examine(flaw, Duration::from_millis(patience))))
        };
        let examined: Vec<_> = FLAWS.into_iter().map(examine).collect();
        let joined = examined.into_iter().map(|(flaw, law, thread)| {
            (flaw, law, thread.join().expect("the panic of `check` was caught"))
        });
        joined.collect::<Vec<_>>()
    });
    for (flaw, law, verdict) in verdicts {
        let words = verdict.expect_err(&format!("{flaw:?} is rejected"));
        assert!(words.contains(&format!("`{law}`: ")), "{flaw:?} breaks {law}, said is: {words}");
    }
}

/// Runs the suite on a flaw; an error is what it says.
fn examine(flaw: Flaw, patience: Duration) -> Result<Report, String> {
    let mut subject = Broken { flaw, patience };
    let checked = catch_unwind(AssertUnwindSafe(|| check(&mut subject)));
    checked.map_err(|panic: Box<dyn Any + Send>| {
        *panic.downcast::<String>().expect("a sentence with names in it")
    })
}

struct Broken {
    flaw: Flaw,
    patience: Duration,
}

impl Subject for Broken {
    fn nature(&self) -> Nature {
        Nature { message_bytes_max: Property::Has(BYTES_MAX), ..LOOPBACK }
    }

    fn network(&mut self) -> Box<dyn Network> {
        let shared = Shared { flaw: self.flaw, ..Shared::default() };
        Box::new(Air { loopback: Loopback::network(), shared: Arc::new(shared) })
    }

    fn patience(&self) -> Duration {
        self.patience
    }
}

/// The limit of a wrapped loopback, which has none of its own.
const BYTES_MAX: u64 = 2 << 20;

/// What a limit counts besides content, at most.
const FRAMING_BYTES: u64 = 1 << 10;

/// What all nodes of a network share, in order to do wrong together.
#[derive(Default)]
pub(super) struct Shared {
    pub(super) flaw: Flaw,
    /// The inboxes of those who run.
    pub(super) inboxes: Mutex<BTreeMap<NodeId, Inbox>>,
    /// The incarnation the message that is under way claims.
    claimed: Mutex<Option<Incarnation>>,
    /// The first incarnation each node ever showed.
    faces: Mutex<BTreeMap<NodeId, Incarnation>>,
}

struct Air {
    loopback: Loopback,
    shared: Arc<Shared>,
}

impl Network for Air {
    fn transport(&mut self, _: NodeId) -> Box<dyn Transport> {
        let (inner, shared) = (self.loopback.join(), Arc::clone(&self.shared));
        Box::new(Flawed { inner, shared, own: Arc::default() })
    }

    fn sever(&mut self, a: NodeId, b: NodeId) {
        self.loopback.cut(a, b);
        self.loopback.heal();
    }
}

/// A loopback with a flaw.
pub(super) struct Flawed {
    pub(super) inner: LoopbackTransport,
    pub(super) shared: Arc<Shared>,
    pub(super) own: Arc<Mutex<Own>>,
}

/// What a node remembers, in order to do wrong.
#[derive(Default)]
pub(super) struct Own {
    pub(super) me: Option<Identity>,
    pub(super) is_stopped: bool,
    sent: u64,
    /// Nodes that something was sent to.
    greeted: BTreeSet<NodeId>,
    /// Nodes that were lost.
    given_up: BTreeSet<NodeId>,
    /// Nodes whose inbox is full.
    full: BTreeSet<NodeId>,
    hoard: VecDeque<Envelope>,
    too_large: BTreeMap<NodeId, u64>,
    stops: u32,
    /// Sinks that are open.
    pub(super) fetching: u32,
}

impl Flawed {
    fn own(&self) -> MutexGuard<'_, Own> {
        locked(&self.own)
    }

    /// The flaws of what is taken from the host; `None` to go on.
    fn intercept(&self, envelope: &mut Envelope) -> Option<Result<(), SendError>> {
        let (flaw, mut own, message) = (self.shared.flaw, self.own(), &mut envelope.message);
        let (to, class) = (message.to, Class::of(&message.body));
        own.sent += 1;
        if own.is_stopped {
            return Some(if flaw == Flaw::TakesAfterStop {
                Ok(())
            } else {
                Err(SendError::Stopped)
            });
        }
        if flaw == Flaw::SpeaksForOthers
            && let Some(me) = own.me
        {
            message.from.node = me.peer.node;
        }
        let content = content_bytes(&message.body);
        if content + FRAMING_BYTES > BYTES_MAX && flaw != Flaw::TakesTooLarge {
            *own.too_large.entry(to).or_default() += 1;
            let bytes = if flaw == Flaw::LiesAboutSizes { 1 } else { content + FRAMING_BYTES };
            return Some(Err(SendError::TooLarge { to, bytes, bytes_max: BYTES_MAX }));
        }
        let is_swallowed = (flaw == Flaw::LosesSome && own.sent % 7 == 0)
            || (flaw == Flaw::LosesLarge && content > 1 << 20)
            || (flaw == Flaw::ForgetsTheFirst && own.greeted.insert(to))
            || (flaw == Flaw::ForgetsWhenFull && class == Class::Bulk && own.full.remove(&to));
        if is_swallowed {
            return Some(Ok(()));
        }
        if flaw == Flaw::GivesUp && own.given_up.contains(&to) {
            return Some(Err(SendError::Down { to }));
        }
        if flaw == Flaw::OneLane && class == Class::Control && own.full.contains(&to) {
            return Some(Err(SendError::Full { to, queued_bytes: 1, bytes_max: 1 }));
        }
        if flaw == Flaw::ChunksFirst && own.fetching > 0 {
            return Some(Err(SendError::Full { to, queued_bytes: 1, bytes_max: 1 }));
        }
        if flaw == Flaw::BelievesClaims {
            *locked(&self.shared.claimed) = Some(message.from.incarnation);
        }
        None
    }

    /// The flaws of what is refused.
    fn excuse(&self, envelope: Envelope, error: SendError) -> Result<(), SendError> {
        let flaw = self.shared.flaw;
        match (flaw, error) {
            (Flaw::Blocks, SendError::Full { .. }) => loop {
                std::thread::park();
            },
            (Flaw::Hoards, SendError::Full { .. }) => {
                self.own().hoard.push_back(envelope);
                Ok(())
            }
            (Flaw::LiesAboutBounds, SendError::Full { to, queued_bytes, .. }) => {
                Err(SendError::Full { to, queued_bytes, bytes_max: u64::MAX })
            }
            (Flaw::OneLane | Flaw::ForgetsWhenFull, SendError::Full { to, .. }) => {
                self.own().full.insert(to);
                Err(error)
            }
            (Flaw::TakesForNobody, SendError::Unknown { .. })
            | (Flaw::TakesForTheDead, SendError::Down { .. }) => Ok(()),
            (Flaw::MistakesNobody, SendError::Unknown { to }) => Err(SendError::Down { to }),
            (_, error) => Err(error),
        }
    }
}

impl Transport for Flawed {
    fn start(&self, mut me: Identity, inbox: Inbox) -> Result<(), NetError> {
        let flaw = self.shared.flaw;
        if flaw == Flaw::MixesClusters {
            me.cluster = ClusterId::new(1);
        }
        let limits = InboxLimits {
            bulk_bytes_max: inbox.bytes_max(Class::Bulk),
            control_bytes_max: inbox.bytes_max(Class::Control),
        };
        let (shared, own) = (Arc::clone(&self.shared), Arc::clone(&self.own));
        let tap = Tap { me, outer: inbox.clone(), shared, own, passing: Mutex::default() };
        match self.inner.start(me, Inbox::new(limits, Arc::new(tap))) {
            Ok(()) => {}
            Err(_) if flaw == Flaw::StartsAgain => return Ok(()),
            Err(error) => return Err(error),
        }
        self.own().me = Some(me);
        if flaw == Flaw::KeepsItsInbox {
            // As a task would that never ends, and is part of its own state.
            std::mem::forget(inbox.clone());
        }
        locked(&self.shared.inboxes).insert(me.peer.node, inbox);
        Ok(())
    }

    fn set_roster(&self, mut roster: Roster) {
        if self.shared.flaw == Flaw::IgnoresRecords {
            for peer in roster.values_mut() {
                peer.incarnation = None;
            }
        }
        self.inner.set_roster(roster);
    }

    fn send(&self, mut envelope: Envelope) -> Result<(), SendError> {
        if let Some(answer) = self.intercept(&mut envelope) {
            return answer;
        }
        self.inner.send(envelope.clone()).or_else(|error| self.excuse(envelope, error))
    }

    fn serve(&self, store: Arc<dyn ChunkStore>) {
        self.inner.serve(broken_fetch::store(self.shared.flaw, store));
    }

    fn fetch(&self, from: NodeId, group: GroupId, id: SnapshotId, into: Box<dyn ChunkSink>) {
        broken_fetch::fetch(self, from, (group, id), into);
    }

    fn stats(&self) -> NetStats {
        if self.shared.flaw == Flaw::CountsNothing {
            return NetStats::default();
        }
        let mut stats = self.inner.stats();
        if self.shared.flaw == Flaw::CountsNoChunks {
            stats.snapshots = SnapshotStats::default();
        }
        for (node, too_large) in &self.own().too_large {
            stats.peers.entry(*node).or_default().dropped.too_large += too_large;
        }
        stats
    }

    fn local_addr(&self) -> Option<SocketAddr> {
        self.inner.local_addr()
    }

    fn stop(&self) {
        let me = {
            let mut own = self.own();
            (own.is_stopped, own.stops) = (true, own.stops + 1);
            assert!(self.shared.flaw != Flaw::StumblesOnStop || own.stops == 1, "stopped twice");
            own.me
        };
        if self.shared.flaw == Flaw::HearsAfterStop {
            return;
        }
        self.inner.stop();
        if let Some(me) = me {
            locked(&self.shared.inboxes).remove(&me.peer.node);
        }
    }
}

impl Drop for Flawed {
    fn drop(&mut self) {
        self.inner.stop();
        if let Some(me) = self.own().me {
            locked(&self.shared.inboxes).remove(&me.peer.node);
        }
    }
}

/// What arrivals pass on their way to the host.
struct Tap {
    me: Identity,
    outer: Inbox,
    shared: Arc<Shared>,
    own: Arc<Mutex<Own>>,
    passing: Mutex<Passing>,
}

#[derive(Default)]
struct Passing {
    count: u64,
    /// Waits to be overtaken.
    held: BTreeMap<(NodeId, Class), Arrival>,
}

impl Deliver for Tap {
    fn deliver(&self, arrivals: Vec<Arrival>) {
        let mut out = Vec::new();
        for arrival in arrivals {
            match arrival {
                Arrival::Message { envelope, room } => {
                    let arrival = Arrival::Message { envelope: self.tamper(envelope), room };
                    self.pass(arrival, &mut out);
                }
                Arrival::PeerUp(mut peer) => {
                    let mut faces = locked(&self.shared.faces);
                    let face = faces.entry(peer.node).or_insert(peer.incarnation);
                    if self.shared.flaw == Flaw::ForgetsNoFace {
                        peer.incarnation = *face;
                    }
                    out.push(Arrival::PeerUp(peer));
                }
                Arrival::PeerDown(node) => {
                    locked(&self.own).given_up.insert(node);
                    if self.shared.flaw != Flaw::HidesLosses {
                        out.push(Arrival::PeerDown(node));
                    }
                }
                Arrival::Refused { node, refusal } => {
                    out.push(Arrival::Refused { node, refusal });
                }
            }
        }
        self.outer.deliver(out);
    }
}

impl Tap {
    fn tamper(&self, mut envelope: Envelope) -> Envelope {
        if self.shared.flaw == Flaw::BelievesClaims
            && let Some(claimed) = locked(&self.shared.claimed).take()
        {
            envelope.message.from.incarnation = claimed;
        }
        if self.shared.flaw == Flaw::Corrupts
            && let Body::AppendEntries(request) = &mut envelope.message.body
        {
            let prev = request.slice.prev();
            let entries = request.slice.entries().iter().cloned().map(corrupted).collect();
            request.slice = LogSlice::new(prev, entries).expect("their ids did not change");
        }
        envelope
    }

    /// Lets a message pass, or does what must not be done with it.
    fn pass(&self, arrival: Arrival, out: &mut Vec<Arrival>) {
        let (mut passing, class) = (locked(&self.passing), arrival.class());
        passing.count += 1;
        let Arrival::Message { envelope, room } = &arrival else { return };
        let lane = (envelope.message.from.node, class);
        let (flaw, is_fifth) = (self.shared.flaw, passing.count % 5 == 0);
        if flaw == Flaw::Floods {
            out.push(self.outer.admit(envelope.clone(), 0));
            return;
        }
        if flaw == Flaw::Doubles && is_fifth {
            out.push(self.outer.admit(envelope.clone(), room.bytes()));
        }
        if flaw == Flaw::Strays && is_fifth {
            let inboxes = locked(&self.shared.inboxes);
            let ends = [envelope.message.from.node, self.me.peer.node];
            if let Some((_, other)) = inboxes.iter().find(|(node, _)| !ends.contains(node)) {
                other.deliver(vec![other.admit(envelope.clone(), room.bytes())]);
            }
        }
        if flaw == Flaw::Reorders && is_fifth && !passing.held.contains_key(&lane) {
            passing.held.insert(lane, arrival);
            return;
        }
        out.push(arrival);
        out.extend(passing.held.remove(&lane));
    }
}

fn corrupted(entry: Entry) -> Entry {
    let mut bytes = entry.payload.bytes().to_vec();
    match (entry.payload.kind(), bytes.get_mut(4_000)) {
        (PayloadKind::Command, Some(byte)) => {
            *byte ^= 1;
            Entry { payload: Payload::command(bytes), ..entry }
        }
        (PayloadKind::Command | PayloadKind::NoOp | PayloadKind::Membership, _) => entry,
    }
}

fn content_bytes(body: &Body) -> u64 {
    super::super::sample::content_bytes(body)
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
