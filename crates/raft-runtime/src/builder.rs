//! Config, ports and state machine become a recovered `Host`.
//!
//! What a disk remembers decides: a blank one is given an identity and the first membership of the
//! configuration; on any other the configured members are ignored and the identity must fit.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use raft_core::{
    GroupId, Halt, Identity, Incarnation, Membership, Peer, RaftConfig, RaftNode, SnapshotMeta,
    SnapshotSource, StateMachine, Time,
};
use raft_net::{Inbox, InboxLimits, Transport};
use raft_storage::{Applier, FoundError, SnapshotManager, Storage};
use tokio::sync::{oneshot, watch};

use crate::admission::Admission;
use crate::apply::Application;
use crate::clock::Clock;
use crate::disk::Disk;
use crate::error::{Halted, StartError};
use crate::host::{HostLoop, Sink};
use crate::net::Network;
use crate::queue::Queue;
use crate::raft::Raft;
use crate::shared::Shared;
use crate::snapshots::{Jobs, Snapshots};
use crate::tickets::Tickets;
use crate::{Metrics, peers};

/// Puts a node together.
#[must_use = "a builder does nothing until it is built"]
pub struct Builder {
    config: RaftConfig,
    storage: Option<Box<dyn Storage>>,
    recover: Option<Recover>,
    transport: Option<Arc<dyn Transport>>,
    inbox: InboxLimits,
    operation_timeout: Duration,
    admission_bytes_max: u64,
}

impl Builder {
    pub(crate) fn new(config: RaftConfig) -> Self {
        Self {
            operation_timeout: Duration::from_secs(5) + 2 * config.election_timeout_max,
            config,
            storage: None,
            recover: None,
            transport: None,
            inbox: InboxLimits::default(),
            admission_bytes_max: 128 << 20,
        }
    }

    /// Where the log lives.
    pub fn storage(mut self, storage: impl Storage + 'static) -> Self {
        self.storage = Some(Box::new(storage));
        self
    }

    /// What the log is applied to.
    pub fn state_machine(mut self, machine: impl StateMachine) -> Self {
        self.recover = Some(Box::new(|snapshot| Applier::recovered(machine, snapshot)));
        self
    }

    /// What carries messages to the other nodes.
    pub fn transport(mut self, transport: impl Transport) -> Self {
        self.transport = Some(Arc::new(transport));
        self
    }

    /// How long a proposal or a read may take. Default 5 s and twice the upper election timeout, so
    /// that an election fits in.
    pub fn operation_timeout(mut self, timeout: Duration) -> Self {
        self.operation_timeout = timeout;
        self
    }

    /// How many bytes may have arrived from peers and not been taken in.
    pub fn inbox_limits(mut self, limits: InboxLimits) -> Self {
        self.inbox = limits;
        self
    }

    /// How many bytes of proposals may be under way. Default 128 MiB.
    pub fn admission_bytes_max(mut self, bytes: u64) -> Self {
        self.admission_bytes_max = bytes;
        self
    }

    /// Recovers the node, starts its transport and its threads.
    ///
    /// # Errors
    ///
    /// [`StartError`] says which part does not fit, and the remedy.
    pub fn build(self) -> Result<Host, StartError> {
        let mut storage = self.storage.ok_or(StartError::Missing("storage"))?;
        let recover = self.recover.ok_or(StartError::Missing("state machine"))?;
        let transport = self.transport.ok_or(StartError::Missing("transport"))?;
        self.config.validate().map_err(StartError::Config)?;
        let identity = identify(&mut *storage, &self.config)?;
        let restored = storage.restore(GROUP).map_err(StartError::Storage)?;
        let manager = storage.snapshots().map(Arc::new);
        let manager = manager.map_err(|error| StartError::Snapshot(error.to_string()))?;
        let applier = restore_state(recover, &manager, restored.snapshot.as_ref())?;
        let config = self.config.with_seed(random_u64()?);
        let spans = Spans::of(&config, self.operation_timeout);
        let backlog_bytes_max = config.limits.apply_backlog_bytes_max;
        let clock = Clock::start();
        let incarnation = identity.peer.incarnation;
        let node = RaftNode::new(config, incarnation, restored, clock.now());
        let node = node.map_err(StartError::Config)?;

        let events = Arc::new(Queue::new());
        let inside = applier.applied().index.get();
        let shared = Arc::new(share(&node, inside, self.admission_bytes_max));
        let inbox = Inbox::new(self.inbox, Arc::new(Sink(Arc::clone(&events))));
        // Before the first knock at the door: who knocks must be known, and is answered.
        peers::update_roster(&*transport, &node.roster());
        transport.serve(manager.clone());
        let system = |error: std::io::Error| StartError::System(error.to_string());
        let network = Network::start().map_err(system)?;
        let started = network.enter(|| transport.start(identity, inbox));
        started.map_err(StartError::Transport)?;
        let disk = Disk::start(storage, events.clone(), transport.clone(), manager.clone());
        let disk = disk.map_err(system)?;
        let jobs = Jobs::new();
        let snapshots =
            Snapshots::start(jobs.clone(), manager.clone(), events.clone(), transport.clone());
        let snapshots = snapshots.map_err(system)?;
        let application = Application::start(
            applier,
            Arc::clone(&events),
            Arc::clone(&shared),
            clock,
            (manager.clone(), jobs),
            backlog_bytes_max,
        );
        let application = application.map_err(system)?;
        let metrics = Metrics {
            shared: Arc::clone(&shared),
            transport: Arc::clone(&transport),
            storage: disk.stats(),
            snapshots: manager,
        };
        let (ended_sender, ended) = watch::channel(false);
        let known = (Arc::clone(&events), Arc::clone(&shared));
        let raft = Raft::new(identity.peer.node, known, metrics, ended, spans);
        let host_loop = HostLoop {
            node,
            clock,
            events,
            shared,
            transport,
            network,
            disk,
            application,
            snapshots,
            reads: BTreeMap::new(),
            status_at: Time::ZERO,
            transfers: Vec::new(),
            wanted_snapshots: Vec::new(),
            removed: None,
            removal_grace: spans.removal_grace,
        };
        let (result_sender, result) = oneshot::channel();
        host_loop.spawn(result_sender, ended_sender).map_err(system)?;
        Ok(Host { raft, result })
    }

    /// Builds and serves in the background; returns the handle.
    ///
    /// # Errors
    ///
    /// As [`build`](Self::build).
    pub fn start(self) -> Result<Raft, StartError> {
        Ok(self.build()?.handle())
    }
}

/// A running node. Dropping it does not stop the node; [`Raft::shutdown`] does.
#[derive(Debug)]
pub struct Host {
    raft: Raft,
    result: oneshot::Receiver<Result<(), Halted>>,
}

impl Host {
    /// A handle on the node.
    pub fn handle(&self) -> Raft {
        self.raft.clone()
    }

    /// Serves until the node stops.
    ///
    /// # Errors
    ///
    /// [`Halted`] if it stopped by itself: its disk failed, or its state machine cannot go on.
    pub async fn run(self) -> Result<(), Halted> {
        self.result.await.unwrap_or(Err(Halted::Panicked("host")))
    }
}

/// Makes an applier of the state machine that was given, from the newest snapshot if there is one.
type Recover = Box<
    dyn FnOnce(Option<(&SnapshotMeta, &mut dyn SnapshotSource)>) -> Result<Applier, Halt> + Send,
>;

/// The one group of this version; the formats carry the number.
const GROUP: GroupId = GroupId::ZERO;

/// How long the handle and the host wait for what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spans {
    pub(crate) operation_timeout: Duration,
    pub(crate) retry_interval: Duration,
    /// How long a shutdown waits for another leader.
    pub(crate) handover_timeout: Duration,
    pub(crate) removal_grace: Duration,
}

impl Spans {
    fn of(config: &RaftConfig, operation_timeout: Duration) -> Self {
        Self {
            operation_timeout,
            retry_interval: config.heartbeat_interval,
            handover_timeout: config.election_timeout_max,
            removal_grace: 4 * config.election_timeout_max,
        }
    }
}

/// What the newest snapshot of the log holds goes into the state machine, unless it is there.
fn restore_state(
    recover: Recover,
    manager: &Arc<SnapshotManager>,
    newest: Option<&SnapshotMeta>,
) -> Result<Applier, StartError> {
    let fault = |what: String| StartError::Snapshot(what);
    let Some(meta) = newest else { return recover(None).map_err(|halt| fault(halt.to_string())) };
    let mut source = manager.open_source(GROUP, meta.id).map_err(|error| {
        fault(format!("the log begins after the snapshot of {}: {error}", meta.last_included))
    })?;
    manager.retain(GROUP, meta.id);
    recover(Some((meta, &mut *source))).map_err(|halt| fault(halt.to_string()))
}

fn share(node: &RaftNode, applied: u64, admission_bytes_max: u64) -> Shared {
    Shared {
        tickets: Tickets::new(),
        admission: Admission::new(admission_bytes_max),
        applied: AtomicU64::new(applied),
        term: AtomicU64::new(node.state().current_term().get()),
        leader: AtomicU64::new(0),
        committed: AtomicU64::new(node.state().commit_index().get()),
        stopped: AtomicBool::new(false),
        status: watch::Sender::new(node.status()),
    }
}

/// Asks whose disk it is; a blank one gets a new incarnation.
fn identify(storage: &mut dyn Storage, config: &RaftConfig) -> Result<Identity, StartError> {
    let incarnation = new_incarnation()?;
    Ok(raft_storage::identify(storage, config.cluster, config.node_id(), incarnation)?)
}

/// Gives a blank disk to a node of a new cluster that begins with a state instead of nothing: with
/// everything inside `machine`, applied as one entry, and the members of `config`. Every member of
/// them has to be given the same; a node started with this disk then serves it. Durable on return.
///
/// # Errors
///
/// [`StartError`]. A disk that was blank is no good then: remove it.
pub fn found(
    storage: &mut dyn Storage,
    config: &RaftConfig,
    machine: &dyn StateMachine,
) -> Result<SnapshotMeta, StartError> {
    config.validate().map_err(StartError::Config)?;
    let identity = Identity {
        cluster: config.cluster,
        peer: Peer { node: config.node_id(), incarnation: new_incarnation()? },
    };
    let membership = Membership::bootstrap(config.initial_members());
    raft_storage::found(storage, identity, &membership, machine).map_err(|error| match error {
        FoundError::NotBlank { disk } => {
            let (node, cluster) = (config.node_id(), config.cluster);
            StartError::ForeignDisk { disk, node, cluster }
        }
        FoundError::Storage(error) => StartError::Storage(error),
        FoundError::Snapshot(_) | FoundError::StateMachine(_) | _ => {
            StartError::Snapshot(error.to_string())
        }
    })
}

fn new_incarnation() -> Result<Incarnation, StartError> {
    let number = u128::from(random_u64()?) << 64 | u128::from(random_u64()?);
    Ok(Incarnation::new(number))
}

fn random_u64() -> Result<u64, StartError> {
    getrandom::u64().map_err(|error| StartError::System(format!("no randomness: {error}")))
}
