//! The stream behind etcd's `Maintenance.Snapshot`: a backup of this member's state.
//!
//! * It holds every write acknowledged, anywhere, before it was asked for; any member gives it.
//! * Applying goes on meanwhile: the state is frozen between two entries, which copies nothing.
//! * Its length has to be known before its first byte, so the frozen state is read twice.
//!
//! Read next: `restore.rs`, the way back. The bytes are drawn in `docs/SNAPSHOT_FORMAT.md`.

use std::sync::Arc;
use std::time::Duration;

use raft_api::EtcdError;
use raft_api::etcdserverpb as pb;
use raft_api::tonic::Status;
use raft_api::tonic::codegen::tokio_stream::wrappers::ReceiverStream;
use raft_backup::{Encoder, Header};
use raft_kv::Stats;
use raft_runtime::StateMachine as _;
use raft_runtime::{ClusterId, Consistency, EntryId, Halt, SnapshotError, SnapshotSource};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::config::{PRODUCT_VERSION, STORAGE_VERSION};
use crate::machine::Machine;
use crate::member::{Member, read_refused};

/// The messages of a backup.
pub type BackupStream = ReceiverStream<Result<pb::SnapshotResponse, Status>>;

/// Backups taken at the same time: each keeps what is overwritten meanwhile in memory.
pub const BACKUPS_MAX: usize = 4;

/// How long a client may take nothing, before what is kept in memory for it is let go.
const IDLE_MAX: Duration = Duration::from_mins(1);

/// Messages that wait for the client: enough that both sides work at the same time.
const MESSAGES_MAX: usize = 8;

/// The state between two entries.
struct Frozen {
    applied: EntryId,
    stats: Stats,
    /// To be counted.
    first: Box<dyn SnapshotSource>,
    /// To be sent.
    second: Box<dyn SnapshotSource>,
}

/// Begins a backup.
///
/// # Errors
///
/// In etcd's codes and words; also if [`BACKUPS_MAX`] are under way.
pub async fn begin(member: &Arc<Member>) -> Result<BackupStream, Status> {
    let permit = Arc::clone(&member.backups).try_acquire_owned();
    let permit = permit.map_err(|_| Status::from(EtcdError::TooManyRequests))?;
    let machine = Machine { store: member.store.clone(), announced: member.announced.clone() };
    let frozen = member.raft.inspect(Consistency::Linearizable, move |applied| {
        Ok::<_, Halt>(Frozen {
            applied,
            stats: machine.store.stats(),
            first: machine.snapshot()?,
            second: machine.snapshot()?,
        })
    });
    let frozen = frozen.await.map_err(|error| read_refused(&error))?;
    let frozen = frozen.map_err(|halt| Status::internal(format!("etcdserver: {halt}")))?;
    let (sender, receiver) = mpsc::channel(MESSAGES_MAX);
    tokio::spawn(run(Arc::clone(member), frozen, sender, permit));
    Ok(ReceiverStream::new(receiver))
}

type Sender = mpsc::Sender<Result<pb::SnapshotResponse, Status>>;

/// Sends everything, or says why not.
async fn run(member: Arc<Member>, frozen: Frozen, sender: Sender, _: OwnedSemaphorePermit) {
    let revision = frozen.stats.revision;
    tracing::info!(applied = %frozen.applied, revision, "backup begun");
    match send_all(&member, frozen, &sender).await {
        Ok(bytes) => tracing::info!(revision, bytes, "backup sent"),
        Err(Ended::ClientGone) => tracing::info!(revision, "backup not taken: the client went"),
        Err(Ended::ClientIdle) => {
            // It sees a stream without the hash at its end.
            tracing::warn!(revision, "backup not taken: the client took nothing for a minute");
        }
        Err(Ended::Failed(error)) => {
            tracing::error!(revision, %error, "backup failed");
            let status = Status::internal(format!("etcdserver: backup: {error}"));
            // The client may be gone by now.
            drop(sender.send(Err(status)).await);
        }
    }
}

/// Why a backup was not sent to its end.
enum Ended {
    ClientGone,
    ClientIdle,
    Failed(SnapshotError),
}

async fn send_all(member: &Member, frozen: Frozen, sender: &Sender) -> Result<u64, Ended> {
    let Frozen { applied, stats, first, second } = frozen;
    let state_bytes = count(first, sender.clone()).await?;
    let header = Header {
        cluster: ClusterId::new(member.raft_cluster.get()),
        applied,
        revision: stats.revision.unsigned_abs(),
        keys: stats.keys,
        state_bytes,
        server_version: PRODUCT_VERSION.to_owned(),
        members: member.members().await.into_iter().map(listed).collect(),
    };
    let mut encoder = Encoder::new(&header, second);
    loop {
        let made = spawn_blocking(move || {
            let piece = encoder.next_piece();
            (piece, encoder)
        });
        let (piece, back) = made.await.map_err(|_| interrupted())?;
        encoder = back;
        let Some(blob) = piece.map_err(Ended::Failed)? else { return Ok(header.file_bytes()) };
        let response = pb::SnapshotResponse {
            header: member.header(stats.revision),
            remaining_bytes: encoder.remaining(),
            blob,
            version: STORAGE_VERSION.to_owned(),
        };
        match timeout(IDLE_MAX, sender.send(Ok(response))).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(Ended::ClientGone),
            Err(_) => return Err(Ended::ClientIdle),
        }
    }
}

/// Bytes of a state.
async fn count(mut source: Box<dyn SnapshotSource>, sender: Sender) -> Result<u64, Ended> {
    let counted = spawn_blocking(move || {
        let mut bytes = 0;
        while let Some(chunk) = source.next_chunk().map_err(Ended::Failed)? {
            if sender.is_closed() {
                return Err(Ended::ClientGone);
            }
            bytes += chunk.len() as u64;
        }
        Ok(bytes)
    });
    counted.await.map_err(|_| interrupted())?
}

/// Work on another thread did not come to its end.
fn interrupted() -> Ended {
    Ended::Failed(SnapshotError::Io("the state could not be read to its end".to_owned()))
}

fn listed(member: pb::Member) -> raft_backup::Member {
    raft_backup::Member {
        id: member.id,
        name: member.name,
        is_learner: member.is_learner,
        peer_urls: member.peer_urls,
        client_urls: member.client_urls,
    }
}
