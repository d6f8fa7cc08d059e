//! Config, ports and state machine become a recovered `Host`.
//!
//! What a disk remembers decides: a blank one is given an identity and the first membership of the
//! configuration; on any other the configured members are ignored and the identity must fit.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use raft_core::{GroupId, Identity, Incarnation, RaftConfig, RaftNode, StateMachine, Time};
use raft_net::{Inbox, InboxLimits, Transport};
use raft_storage::{Applier, Storage};
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
use crate::tickets::Tickets;
use crate::{Metrics, peers};

/// Puts a node together.
#[must_use = "a builder does nothing until it is built"]
pub struct Builder {
    config: RaftConfig,
    storage: Option<Box<dyn Storage>>,
    applier: Option<Applier>,
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
            applier: None,
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
        self.applier = Some(Applier::new(machine));
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
        let applier = self.applier.ok_or(StartError::Missing("state machine"))?;
        let transport = self.transport.ok_or(StartError::Missing("transport"))?;
        self.config.validate().map_err(StartError::Config)?;
        let identity = identify(&mut *storage, &self.config)?;
        let restored = storage.restore(GroupId::ZERO).map_err(StartError::Storage)?;
        let config = self.config.with_seed(random_u64()?);
        let retry_interval = config.heartbeat_interval;
        let backlog_bytes_max = config.limits.apply_backlog_bytes_max;
        let clock = Clock::start();
        let incarnation = identity.peer.incarnation;
        let node = RaftNode::new(config, incarnation, restored, clock.now());
        let node = node.map_err(StartError::Config)?;

        let events = Arc::new(Queue::new());
        let shared = Arc::new(Shared {
            tickets: Tickets::new(),
            admission: Admission::new(self.admission_bytes_max),
            applied: AtomicU64::new(applier.applied().index.get()),
            term: AtomicU64::new(node.state().current_term().get()),
            leader: AtomicU64::new(0),
            committed: AtomicU64::new(node.state().commit_index().get()),
            stopped: AtomicBool::new(false),
            status: watch::Sender::new(node.status()),
        });
        let inbox = Inbox::new(self.inbox, Arc::new(Sink(Arc::clone(&events))));
        // Before the first knock at the door: who knocks must be known.
        peers::update_roster(&*transport, node.state().membership());
        let system = |error: std::io::Error| StartError::System(error.to_string());
        let network = Network::start().map_err(system)?;
        let started = network.enter(|| transport.start(identity, inbox));
        started.map_err(StartError::Transport)?;
        let disk = Disk::start(storage, Arc::clone(&events), Arc::clone(&transport));
        let disk = disk.map_err(system)?;
        let application = Application::start(
            applier,
            Arc::clone(&events),
            Arc::clone(&shared),
            backlog_bytes_max,
        );
        let application = application.map_err(system)?;
        let metrics = Metrics {
            shared: Arc::clone(&shared),
            transport: Arc::clone(&transport),
            storage: disk.stats(),
        };
        let (ended_sender, ended) = watch::channel(false);
        let raft = Raft {
            id: identity.peer.node,
            events: Arc::clone(&events),
            shared: Arc::clone(&shared),
            metrics,
            ended,
            operation_timeout: self.operation_timeout,
            retry_interval,
        };
        let host_loop = HostLoop {
            node,
            clock,
            events,
            shared,
            transport,
            network,
            disk,
            application,
            reads: BTreeMap::new(),
            status_at: Time::ZERO,
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

/// Asks whose disk it is; a blank one gets a new incarnation.
fn identify(storage: &mut dyn Storage, config: &RaftConfig) -> Result<Identity, StartError> {
    let number = u128::from(random_u64()?) << 64 | u128::from(random_u64()?);
    let incarnation = Incarnation::new(number);
    Ok(raft_storage::identify(storage, config.cluster, config.node_id(), incarnation)?)
}

fn random_u64() -> Result<u64, StartError> {
    getrandom::u64().map_err(|error| StartError::System(format!("no randomness: {error}")))
}
