//! Puts a member together and serves its clients until it stops.
//!
//! Order of the start: disk, place in the cluster, node and peers, then the client ports; `ready to
//! serve client requests` is logged when a request would be answered. Read next: `member.rs`,
//! `grpc.rs`.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use raft_kv::SharedStore;
use raft_runtime::{
    FileOptions, FileStorage, Halted, Host, Limits, Member as RaftMember, NodeId, Raft, RaftConfig,
    SnapshotPolicy, StartError, Storage as _, StorageError, SyncMode, TcpConfig, TcpTransport,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use crate::backup::BACKUPS_MAX;
use crate::config::{Config, ETCD_VERSION, PRODUCT_VERSION};
use crate::counted::Counted;
use crate::grpc::Router;
use crate::join::{JoinError, Seat, wait_to_be_added};
use crate::machine::{Announced, Machine};
use crate::member::Member;
use crate::metrics::Metrics;
use crate::troubles;

/// Why a member could not start or had to stop.
#[derive(Debug)]
#[non_exhaustive]
pub enum ServeError {
    /// The data directory cannot be used.
    Storage {
        /// The directory.
        path: String,
        /// What is wrong with it.
        source: Box<StorageError>,
    },
    /// The node could not start.
    Start(Box<StartError>),
    /// A client port could not be opened.
    Listen {
        /// The address.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The cluster to join was not found.
    Join(JoinError),
    /// The node stopped by itself.
    Halted(Halted),
    /// This member was removed from its cluster.
    Removed,
}

impl ServeError {
    /// The exit status of the program.
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Storage { .. }
            | Self::Start(_)
            | Self::Listen { .. }
            | Self::Join(_)
            | Self::Halted(_) => 1,
            Self::Removed => REMOVED_STATUS,
        }
    }
}

/// The exit status of a member that was removed: starting it again would not help.
pub const REMOVED_STATUS: u8 = 3;

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Storage { path, source } if source.is_damage() => write!(
                f,
                "data directory {path} is damaged, and was left as it is (if the other members \
                 are a majority, move it away, start this member with an empty one and run \
                 raftctl member readmit; if not, go back to a backup; a cluster of one starts \
                 without what is behind the damage if it is told to --accept-data-loss)"
            ),
            Self::Storage { path, .. } => write!(f, "data directory {path}"),
            Self::Start(error) if matches!(**error, StartError::ForeignDisk { .. }) => f.write_str(
                "this member cannot start; if its peer URL was changed with raftctl member \
                 update, add --initial-cluster-state=existing",
            ),
            Self::Start(_) => f.write_str("this member cannot start"),
            Self::Listen { address, .. } => write!(f, "cannot listen for clients at {address}"),
            Self::Join(_) => f.write_str("this member cannot join"),
            Self::Halted(_) => f.write_str("this member stopped"),
            Self::Removed => f.write_str(
                "this member was removed from the cluster; to let it come back, delete its data \
                 directory, run raftctl member add, and start it with \
                 --initial-cluster-state=existing",
            ),
        }
    }
}

impl std::error::Error for ServeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Storage { source, .. } => Some(source),
            Self::Start(source) => Some(source),
            Self::Listen { source, .. } => Some(source),
            Self::Join(source) => Some(source),
            Self::Halted(source) => Some(source),
            Self::Removed => None,
        }
    }
}

/// How long clients' calls may go on after a stop was asked for.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(3);

/// Serves until `stop` resolves or the node stops by itself.
///
/// # Errors
///
/// [`ServeError`] says what to do; nothing on disk is lost.
pub async fn serve(config: Config, stop: impl Future<Output = ()>) -> Result<(), ServeError> {
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let mut stop = std::pin::pin!(stop);
    let path = config.data_dir.display().to_string();
    let storage = FileStorage::open_with_options(&config.data_dir, file_options(&config))
        .map_err(|error| ServeError::Storage { path, source: Box::new(error) })?;
    for damage in &storage.recovery().lost {
        tracing::error!("given up, with everything behind it: {damage}");
    }
    let seat = if let Some(seat) = Seat::known(&config, storage.identity()) {
        seat
    } else {
        tokio::select! {
            () = &mut stop => return Ok(()),
            learned = Seat::learned(&config) => learned.map_err(ServeError::Join)?,
        }
    };
    tell_start(&config, seat);
    let (member, host) = start_node(config, storage, seat)?;
    let mut listeners = Vec::new();
    for url in &member.config.listen_client_urls {
        let address = url.authority();
        let listener = TcpListener::bind(&address).await;
        listeners.push(listener.map_err(|source| ServeError::Listen { address, source })?);
    }
    let (stopping, stopped) = watch::channel(false);
    let router = Router::new(Arc::clone(&member));
    let mut doors = tokio::task::JoinSet::new();
    for listener in listeners {
        doors.spawn(accept(listener, router.clone(), stopped.clone()));
    }
    let ready = tokio::spawn(get_ready(Arc::clone(&member)));
    let raft = member.raft.clone();
    let ended = tokio::select! {
        () = stop => Ok(()),
        halted = host.run() => halted.map_err(|halted| match halted {
            Halted::Removed => ServeError::Removed,
            Halted::Storage(_) | Halted::StateMachine(_) | Halted::Panicked(_) | _ => {
                ServeError::Halted(halted)
            }
        }),
        () = troubles::removed(Arc::clone(&member)) => Err(ServeError::Removed),
    };
    tracing::info!("stopping");
    ready.abort();
    stopping.send_replace(true);
    let drained = async { while doors.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_TIME_MAX, drained).await.is_err() {
        tracing::warn!("some clients were still connected");
    }
    raft.shutdown().await;
    tracing::info!("stopped");
    ended
}

fn file_options(config: &Config) -> FileOptions {
    let options = FileOptions::default();
    let options = if config.accept_data_loss { options.accepting_data_loss() } else { options };
    match config.sync_mode {
        SyncMode::Full => options,
        SyncMode::Normal => options.with_late_sync_power_loss_needs_readmission(),
        SyncMode::None => options.without_sync_data_may_be_lost(),
    }
}

fn tell_start(config: &Config, seat: Seat) {
    tracing::info!(
        version = PRODUCT_VERSION,
        etcd_version = ETCD_VERSION,
        name = config.name,
        member = %seat.member,
        cluster = %seat.cluster,
        data_dir = %config.data_dir.display(),
        sync_mode = config.sync_mode.name(),
        "starting"
    );
    let (flags, own) = (config.member_id(), seat.member);
    if flags != own {
        tracing::info!(%own, %flags, "the data directory keeps its member id");
    }
}

/// Recovers the node and connects to its peers.
fn start_node(
    config: Config,
    storage: FileStorage,
    seat: Seat,
) -> Result<(Arc<Member>, Host), ServeError> {
    let peers = config.listen_peer_urls.first();
    let listen = peers.map_or_else(|| "127.0.0.1:2380".to_owned(), crate::config::Url::authority);
    let transport = TcpTransport::new(TcpConfig {
        // A member that was away may hear first from a leader that joined meanwhile (§6).
        strangers: raft_runtime::Strangers::Welcome,
        advertise: config.initial_advertise_peer_urls.first().map(crate::config::Url::authority),
        // The largest command must fit into a frame, or nothing behind it is ever replicated.
        frame_bytes_max: (32 << 20).max(config.max_request_bytes.saturating_add(1 << 20)),
        ..TcpConfig::listening(listen)
    });
    let machine = Machine { store: SharedStore::new(), announced: Announced::default() };
    let (store, announced) = (machine.store.clone(), machine.announced.clone());
    let host = Raft::builder(raft_config(&config, seat))
        .storage(storage)
        .state_machine(machine)
        .transport(transport)
        .operation_timeout(Duration::from_secs(5) + 2 * config.election_timeout)
        .build()
        .map_err(|error| ServeError::Start(Box::new(error)))?;
    let cluster_id = seat.cluster_id();
    let (raft, metrics) = (host.handle(), Arc::new(Metrics::new()));
    let (raft_cluster, backups) = (seat.cluster, Arc::new(Semaphore::new(BACKUPS_MAX)));
    let member =
        Member { raft, store, announced, metrics, config, cluster_id, raft_cluster, backups };
    Ok((Arc::new(member), host))
}

/// The settings of Raft for these settings of a member.
pub(crate) fn raft_config(config: &Config, seat: Seat) -> RaftConfig {
    let members = config.initial_member_ids().into_iter().filter_map(|(name, id)| {
        let node = NodeId::new(id.get())?;
        let address = config.initial_cluster.get(&name)?.first()?.authority();
        Some((node, RaftMember { address: address.into(), incarnation: None }))
    });
    let limits = Limits {
        // A command is a request with a few bytes around it.
        command_bytes_max: config.max_request_bytes.saturating_add(64 << 10),
        ..Limits::default()
    };
    let snapshots = SnapshotPolicy {
        entries: config.snapshot_count,
        keep_entries: config.snapshot_catchup_entries,
        ..SnapshotPolicy::default()
    };
    let raft = if seat.is_founder {
        RaftConfig::new(seat.member.get(), Vec::new()).with_members(members.collect())
    } else {
        RaftConfig::join(seat.member.get())
    };
    raft.with_cluster_id(seat.cluster)
        .with_heartbeat_interval(config.heartbeat_interval)
        .with_election_timeout(config.election_timeout, 2 * config.election_timeout)
        .with_preferred_leaders(config.preferred_leaders.iter().map(|id| id.get()).collect())
        .with_snapshots(snapshots)
        .with_limits(limits)
}

/// Announces this member and says when it serves: it is a member, a leader is known, the log is
/// applied.
async fn get_ready(member: Arc<Member>) {
    wait_to_be_added(&member).await;
    member.announce().await;
    let urls: Vec<_> = member.config.listen_client_urls.iter().map(ToString::to_string).collect();
    tracing::info!(client_urls = urls.join(","), "ready to serve client requests");
}

/// Accepts clients until asked to stop, then waits for their calls to end.
async fn accept(listener: TcpListener, router: Router, mut stopped: watch::Receiver<bool>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = asked_to_stop(&mut stopped) => break,
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, from)) => {
                connections.spawn(serve_client(stream, from, router.clone(), stopped.clone()));
            }
            Err(error) => {
                // Mostly too many open files: others must close some first.
                tracing::warn!(%error, "a client could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn asked_to_stop(stopped: &mut watch::Receiver<bool>) {
    // A sender that is gone means that the server is: the same.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// The pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Flow control: enough that large ranges are not throttled by windows.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// Streams a client may reset before they were answered; clients that cancel many short calls are
/// no attackers.
const PENDING_RESETS_MAX: usize = 1 << 16;

/// One client: HTTP/1.1 or HTTP/2, whichever it speaks.
async fn serve_client(
    stream: TcpStream,
    from: SocketAddr,
    router: Router,
    mut stopped: watch::Receiver<bool>,
) {
    // Answers are small and somebody waits for each.
    let _ = stream.set_nodelay(true);
    let metrics = router.metrics();
    let stream = TokioIo::new(Counted::new(stream, metrics));
    let service = service_fn(move |request| {
        let mut router = router.clone();
        async move { Ok::<_, std::convert::Infallible>(router.answer(request).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new());
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(None)
        .max_pending_accept_reset_streams(PENDING_RESETS_MAX);
    let mut connection = std::pin::pin!(builder.serve_connection(stream, service));
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = asked_to_stop(&mut stopped) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%from, %error, "a client's connection ended");
    }
}
