//! Hosts to examine transports with: each has one, an inbox, and a deadline for what it waits for.
//!
//! Read next: `carry.rs`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use raft_core::{
    Body, ChunkSink, ClusterId, Envelope, GroupId, Identity, Incarnation, NodeId, Peer, SnapshotId,
};
use tokio::sync::mpsc;
use tokio::task::{JoinError, spawn_blocking, yield_now};
use tokio::time::timeout;

use super::sample::{envelope, node, number, numbered};
use super::{Finding, Nature, Network, Verdict, ensure};
use crate::{
    Arrival, Class, Deliver, Inbox, InboxLimits, PeerAddress, Refusal, Room, Roster, SendError,
    Transport,
};

/// A network with its hosts, for one law.
pub(super) struct Stage {
    network: Box<dyn Network>,
    pub(super) nature: Nature,
    patience: Duration,
}

/// A transport with its inbox.
pub(super) struct Host {
    pub(super) identity: Identity,
    /// `None` once it was dropped.
    transport: Option<Arc<dyn Transport>>,
    arrivals: mpsc::UnboundedReceiver<Vec<Arrival>>,
    /// What arrived and was not asked for yet, by class; it keeps its room.
    messages: BTreeMap<Class, VecDeque<Arrived>>,
    news: VecDeque<News>,
    losses: BTreeMap<NodeId, u64>,
    patience: Duration,
}

/// A message, and the room it takes until this is dropped.
pub(super) struct Arrived {
    pub(super) envelope: Envelope,
    pub(super) room: Room,
}

/// What a host was told besides messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum News {
    Up(Peer),
    Down(NodeId),
    Refused(NodeId, Refusal),
}

struct Sink(mpsc::UnboundedSender<Vec<Arrival>>);

impl Deliver for Sink {
    fn deliver(&self, arrivals: Vec<Arrival>) {
        // A host whose law has ended needs nothing more.
        drop(self.0.send(arrivals));
    }
}

/// A node of the cluster all are of; its incarnation is its id.
pub(super) fn identity(id: u64) -> Identity {
    let peer = Peer { node: node(id), incarnation: Incarnation::new(id.into()) };
    Identity { cluster: ClusterId::new(0xc1), peer }
}

impl Stage {
    pub(super) fn new(network: Box<dyn Network>, nature: Nature, patience: Duration) -> Self {
        Self { network, nature, patience }
    }

    /// A host whose transport was not started; gives the inbox to start it with.
    pub(super) fn idle(&mut self, identity: Identity, limits: InboxLimits) -> (Host, Inbox) {
        let (sender, arrivals) = mpsc::unbounded_channel();
        let host = Host {
            identity,
            transport: Some(Arc::from(self.network.transport(identity.peer.node))),
            arrivals,
            messages: Class::ALL.map(|class| (class, VecDeque::new())).into(),
            news: VecDeque::new(),
            losses: BTreeMap::new(),
            patience: self.patience,
        };
        (host, Inbox::new(limits, Arc::new(Sink(sender))))
    }

    /// A host whose transport was started and knows nobody.
    pub(super) fn start(
        &mut self,
        identity: Identity,
        limits: InboxLimits,
    ) -> Result<Host, Finding> {
        let (host, inbox) = self.idle(identity, limits);
        let started = host.transport().start(identity, inbox);
        started.map_err(|error| host.broken(format_args!("cannot start: {error}")))?;
        Ok(host)
    }

    /// Gives each of these hosts a roster with the others, without recorded incarnations.
    pub(super) fn introduce(&mut self, hosts: &[&Host]) {
        for host in hosts {
            let roster = self.roster(host, hosts);
            host.transport().set_roster(roster);
        }
    }

    /// The roster of one host with the others among these.
    pub(super) fn roster(&mut self, host: &Host, hosts: &[&Host]) -> Roster {
        let from = host.node();
        let others = hosts.iter().filter(|other| other.node() != from);
        let listed = others.map(|other| {
            let to = other.node();
            let address = self.network.address(to, other.transport().local_addr());
            (to, PeerAddress::new(address))
        });
        listed.collect()
    }

    /// Hosts one, two and so on that reach each other.
    pub(super) async fn hosts<const N: usize>(&mut self) -> Result<[Host; N], Finding> {
        self.hosts_with([InboxLimits::default(); N]).await
    }

    /// The same, each with its own limits.
    pub(super) async fn hosts_with<const N: usize>(
        &mut self,
        limits: [InboxLimits; N],
    ) -> Result<[Host; N], Finding> {
        let mut hosts = Vec::new();
        for (id, limits) in (1..).zip(limits) {
            hosts.push(self.start(identity(id), limits)?);
        }
        self.introduce(&hosts.iter().collect::<Vec<_>>());
        let nodes: Vec<_> = hosts.iter().map(Host::node).collect();
        for host in &mut hosts {
            let own = host.node();
            host.all_up(nodes.iter().copied().filter(|node| *node != own).collect()).await?;
        }
        let Ok(hosts) = hosts.try_into() else { unreachable!("one host for each limit") };
        Ok(hosts)
    }

    pub(super) fn sever(&mut self, a: &Host, b: &Host) {
        self.network.sever(a.node(), b.node());
    }
}

impl Host {
    pub(super) fn node(&self) -> NodeId {
        self.identity.peer.node
    }

    pub(super) fn transport(&self) -> &Arc<dyn Transport> {
        self.transport.as_ref().expect("a host that was let go is not asked again")
    }

    fn broken(&self, how: impl std::fmt::Display) -> Finding {
        Finding::Broken(format!("{} {how}", self.node()))
    }

    /// Sends as a thread that must not be blocked; the outer error is a panic.
    pub(super) async fn try_send(
        &self,
        envelope: Envelope,
    ) -> Result<Result<Result<(), SendError>, JoinError>, Finding> {
        let transport = Arc::clone(self.transport());
        let sending = spawn_blocking(move || transport.send(envelope));
        let sent = timeout(self.patience, sending).await;
        sent.map_err(|_| self.broken(format_args!("sends and `send` does not return")))
    }

    /// Sends, and gives what the transport says to it.
    pub(super) async fn send(
        &self,
        to: NodeId,
        body: Body,
    ) -> Result<Result<(), SendError>, Finding> {
        let sent = self.try_send(envelope(self.node(), to, body)).await?;
        sent.map_err(|error| self.broken(format_args!("sends and `send` panics: {error}")))
    }

    /// Begins a fetch as a thread that must not be blocked.
    pub(super) async fn fetch(
        &self,
        from: NodeId,
        (group, id): (GroupId, SnapshotId),
        into: Box<dyn ChunkSink>,
    ) -> Verdict {
        let transport = Arc::clone(self.transport());
        let beginning = spawn_blocking(move || transport.fetch(from, group, id, into));
        let begun = self.within("`fetch` to return", beginning).await?;
        begun.map_err(|error| self.broken(format_args!("fetches and `fetch` panics: {error}")))
    }

    /// Waits for this, but not for ever.
    pub(super) async fn within<T>(
        &self,
        what: impl std::fmt::Display,
        wait: impl Future<Output = T>,
    ) -> Result<T, Finding> {
        let patience = self.patience;
        let waited = timeout(patience, wait).await;
        waited.map_err(|_| self.broken(format_args!("waited {patience:?} for {what}, in vain")))
    }

    /// Sends what must be taken.
    pub(super) async fn must_send(&self, to: NodeId, body: Body) -> Verdict {
        let name = body.name();
        let sent = self.send(to, body).await?;
        sent.map_err(|error| self.broken(format_args!("cannot send {name}: {error}")))
    }

    /// Sends what must be taken as soon as what is queued already is written.
    pub(super) async fn send_when_room(&self, to: NodeId, body: Body) -> Verdict {
        let sending = async {
            loop {
                match self.send(to, body.clone()).await? {
                    Err(SendError::Full { .. }) => yield_now().await,
                    Ok(()) => return Ok(()),
                    Err(error) => {
                        return Err(self.broken(format_args!("cannot send: {error}")));
                    }
                }
            }
        };
        let sent = timeout(self.patience, sending).await;
        sent.unwrap_or_else(|_| Err(self.broken("finds the queue full for ever")))
    }

    /// Sends what must be refused, in these words.
    pub(super) async fn must_refuse(&self, to: NodeId, body: Body, error: SendError) -> Verdict {
        let sent = self.send(to, body).await?;
        ensure(sent == Err(error), || {
            format!("{} sends to {to}: expected {error:?}, found {sent:?}", self.node())
        })
    }

    /// The next message of a class.
    pub(super) async fn of_class(&mut self, class: Class) -> Result<Arrived, Finding> {
        loop {
            if let Some(arrived) = self.messages.get_mut(&class).and_then(VecDeque::pop_front) {
                return Ok(arrived);
            }
            self.listen(format_args!("a {} message", class.name())).await?;
        }
    }

    /// The next message, of whatever class.
    pub(super) async fn message(&mut self) -> Result<Arrived, Finding> {
        loop {
            if let Some(arrived) = self.messages.values_mut().find_map(VecDeque::pop_front) {
                return Ok(arrived);
            }
            self.listen("a message").await?;
        }
    }

    /// Takes the next message of a class, which must be a numbered one with this number.
    pub(super) async fn must_get(&mut self, class: Class, expected: u64) -> Verdict {
        let found = self.of_class(class).await?.envelope.message;
        let (name, found) = (class.name(), number(&found));
        ensure(found == Some(expected), || {
            format!("{}: expected {name} message {expected}, found {found:?}", self.node())
        })
    }

    /// Takes all of these messages, in this order.
    pub(super) async fn must_get_all(&mut self, class: Class, numbers: &[u64]) -> Verdict {
        for number in numbers {
            self.must_get(class, *number).await?;
        }
        Ok(())
    }

    /// Skips news until this node is reached.
    pub(super) async fn up(&mut self, node: NodeId) -> Result<Peer, Finding> {
        loop {
            match self.news(format_args!("PeerUp of {node}")).await? {
                News::Up(peer) if peer.node == node => return Ok(peer),
                News::Up(_) | News::Down(_) | News::Refused(..) => {}
            }
        }
    }

    /// Skips news until all of these nodes are reached.
    async fn all_up(&mut self, mut nodes: BTreeSet<NodeId>) -> Verdict {
        while !nodes.is_empty() {
            match self.news(format_args!("PeerUp of {nodes:?}")).await? {
                News::Up(peer) => nodes.remove(&peer.node),
                News::Down(node) => nodes.insert(node),
                News::Refused(..) => false,
            };
        }
        Ok(())
    }

    /// Skips news until this node is lost.
    pub(super) async fn down(&mut self, node: NodeId) -> Verdict {
        while self.news(format_args!("PeerDown of {node}")).await? != News::Down(node) {}
        Ok(())
    }

    /// Skips news until this node refuses; that it lets us in is not to happen.
    pub(super) async fn refused(&mut self, by: NodeId) -> Result<Refusal, Finding> {
        loop {
            match self.news(format_args!("a refusal of {by}")).await? {
                News::Refused(node, refusal) if node == by => return Ok(refusal),
                News::Up(peer) if peer.node == by => {
                    return Err(self.broken(format_args!("is let in by {by}")));
                }
                News::Up(_) | News::Down(_) | News::Refused(..) => {}
            }
        }
    }

    async fn news(&mut self, what: impl std::fmt::Display) -> Result<News, Finding> {
        loop {
            if let Some(news) = self.news.pop_front() {
                return Ok(news);
            }
            self.listen(&what).await?;
        }
    }

    /// How often this node was reported lost, of what was heard so far.
    pub(super) fn losses(&mut self, node: NodeId) -> u64 {
        self.overhear();
        self.losses.get(&node).copied().unwrap_or(0)
    }

    /// What arrived in a class and was not taken yet, of what was heard so far.
    pub(super) fn waiting(&mut self, class: Class) -> &VecDeque<Arrived> {
        self.overhear();
        &self.messages[&class]
    }

    /// Waits until something is delivered.
    async fn listen(&mut self, what: impl std::fmt::Display) -> Verdict {
        let heard = timeout(self.patience, self.arrivals.recv()).await;
        let Ok(Some(arrivals)) = heard else {
            let patience = self.patience;
            return Err(self.broken(format_args!("waited {patience:?} for {what}, in vain")));
        };
        self.sort(arrivals);
        Ok(())
    }

    /// Takes what was delivered already.
    fn overhear(&mut self) {
        while let Ok(arrivals) = self.arrivals.try_recv() {
            self.sort(arrivals);
        }
    }

    fn sort(&mut self, arrivals: Vec<Arrival>) {
        for arrival in arrivals {
            let news = match arrival {
                Arrival::Message { envelope, room } => {
                    let class = Class::of(&envelope.message.body);
                    let waiting = self.messages.entry(class).or_default();
                    waiting.push_back(Arrived { envelope, room });
                    continue;
                }
                Arrival::PeerUp(peer) => News::Up(peer),
                Arrival::PeerDown(node) => {
                    *self.losses.entry(node).or_default() += 1;
                    News::Down(node)
                }
                Arrival::Refused { node, refusal } => News::Refused(node, refusal),
            };
            self.news.push_back(news);
        }
    }

    /// Sends bulk messages of this size until the transport takes no more, to a node that takes
    /// none in; gives the numbers of those it took, and its words.
    pub(super) async fn fill(
        &self,
        to: NodeId,
        bytes: usize,
    ) -> Result<(Vec<u64>, SendError), Finding> {
        let mut taken = Vec::new();
        for number in 0..FILL_BYTES_MAX / bytes as u64 {
            match self.send(to, numbered(Class::Bulk, number, bytes)).await? {
                Ok(()) => taken.push(number),
                Err(error) => return Ok((taken, error)),
            }
        }
        let how = format_args!("queues {FILL_BYTES_MAX} bytes for a node that takes nothing in");
        Err(self.broken(how))
    }

    /// Returns once this is so.
    pub(super) async fn eventually(
        &self,
        what: &str,
        mut is_so: impl FnMut(&dyn Transport) -> bool,
    ) -> Verdict {
        let waiting = async {
            while !is_so(&**self.transport()) {
                yield_now().await;
            }
        };
        let waited = timeout(self.patience, waiting).await;
        waited.map_err(|_| self.broken(format_args!("waited in vain until {what}")))
    }

    /// Stops and drops the transport, and waits until it has let go of its inbox: nothing can
    /// arrive any more. Gives the messages that did and were not taken.
    pub(super) async fn end(&mut self) -> Result<Vec<Arrived>, Finding> {
        if let Some(transport) = self.transport.take() {
            transport.stop();
        }
        let patience = self.patience;
        let ending = async {
            while let Some(arrivals) = self.arrivals.recv().await {
                self.sort(arrivals);
            }
        };
        if timeout(patience, ending).await.is_err() {
            return Err(self.broken("was dropped and still holds its inbox"));
        }
        Ok(self.messages.values_mut().flat_map(std::mem::take).collect())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(transport) = self.transport.take() {
            // A law that ends early has its finding already; a second panic would hide it.
            drop(catch_unwind(AssertUnwindSafe(|| transport.stop())));
        }
    }
}

/// Ends these hosts, where every message was taken already: what still arrives is one too many.
pub(super) async fn finish(hosts: impl IntoIterator<Item = Host>) -> Verdict {
    for mut host in hosts {
        let left = host.end().await?;
        ensure(left.is_empty(), || {
            let names = left.iter().map(|arrived| arrived.envelope.message.body.name());
            let names = names.collect::<Vec<_>>().join(", ");
            format!("{} got more than was sent to it: {names}", host.node())
        })?;
    }
    Ok(())
}

/// A queue that took so much has no bound: more than kernels hold on the way.
const FILL_BYTES_MAX: u64 = 128 << 20;
