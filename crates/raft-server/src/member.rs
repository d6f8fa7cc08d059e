//! `Member`: this node as the API sees it. Proposes, reads, and fills headers.
//!
//! * Every member answers every request: a follower's proposals go to the leader inside the
//!   protocol, and its answers come from its own store (no client sees a redirect).
//! * A linearizable read waits for its read index and then reads the local store.
//!
//! Read next: `api/kv.rs`; `member/changes.rs`, the membership.

mod changes;
mod list;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use raft_api::EtcdError;
use raft_api::etcdserverpb::{self as pb, ResponseHeader};
use raft_api::prost::{Message, length_delimiter_len};
use raft_api::tonic::Status;
use raft_kv::{Command, Limits, Response, SharedStore, decode_answer};
use raft_runtime::{
    ClusterId, Consistency, Membership, NetStats, NodeId, Raft, ReadError, RoleName, StorageStats,
    WriteError,
};
use tokio::sync::Semaphore;

use crate::config::Config;
use crate::convert;
use crate::machine::{Announced, announcement};
use crate::metrics::{Gauge, Metrics};

pub use changes::Hop;
pub(crate) use list::etcd;

/// A running member.
#[derive(Debug)]
pub struct Member {
    /// The handle on the node.
    pub raft: Raft,
    /// The local store, for reads.
    pub store: SharedStore,
    /// What members told about themselves.
    pub announced: Announced,
    /// Everything measured.
    pub metrics: Arc<Metrics>,
    /// The settings.
    pub config: Config,
    /// The cluster as etcd's clients see it.
    pub cluster_id: u64,
    /// The cluster as its members see it.
    pub raft_cluster: ClusterId,
    /// Permits for backups under way.
    pub backups: Arc<Semaphore>,
}

impl Member {
    /// The id of this member.
    pub fn id(&self) -> u64 {
        self.raft.id().get()
    }

    /// The header of an answer at a revision (REV-6, REV-7).
    pub fn header(&self, revision: i64) -> Option<ResponseHeader> {
        Some(ResponseHeader {
            cluster_id: self.cluster_id,
            member_id: self.id(),
            revision,
            raft_term: self.raft.term().get(),
        })
    }

    /// What a request may ask for.
    pub fn limits(&self) -> Limits {
        Limits { max_txn_ops: self.config.max_txn_ops }
    }

    /// Puts a validated command into the log and returns the store's answer. `message` is the
    /// request it was made of.
    ///
    /// # Errors
    ///
    /// In etcd's codes and words; [`EtcdError::is_ambiguous`] tells which leave the outcome open.
    pub async fn propose(
        &self,
        command: &Command<'_>,
        message: &impl Message,
    ) -> Result<Response, Status> {
        if entry_len(message) as u64 > self.config.max_request_bytes {
            return Err(EtcdError::RequestTooLarge.into());
        }
        let bytes = Bytes::from(command.encode());
        let answer = self.raft.propose(bytes).await.map_err(|error| write_refused(&error))?;
        let answer = decode_answer(&answer)
            .map_err(|error| Status::internal(format!("etcdserver: answer: {error}")))?;
        answer.map_err(|error| convert::refused(&error))
    }

    /// Waits until the local store may be read linearizably.
    ///
    /// # Errors
    ///
    /// In etcd's codes and words.
    pub async fn linearizable(&self) -> Result<(), Status> {
        match self.raft.barrier(Consistency::Linearizable).await {
            Ok(_) => Ok(()),
            Err(error) => {
                self.metrics.read_indexes_failed.inc();
                Err(read_refused(&error))
            }
        }
    }

    /// Tells the cluster this member's name and URLs, until it is in the log or the node stops.
    pub async fn announce(&self) {
        let urls = |urls: &[crate::config::Url]| urls.iter().map(ToString::to_string).collect();
        let mut me = pb::Member {
            id: self.id(),
            name: self.config.name.clone(),
            peer_urls: Vec::new(),
            client_urls: urls(&self.config.advertise_client_urls),
            is_learner: false,
        };
        // What is already known needs no entry; to know that, this member must have caught up.
        while self.raft.barrier(Consistency::Linearizable).await != Err(ReadError::Stopped) {
            me.peer_urls = self.own_peer_urls(&self.raft.membership().await);
            if self.announced.get(me.id).as_ref() == Some(&me) {
                return;
            }
            match self.raft.propose(announcement(&me)).await {
                Ok(_) | Err(WriteError::Stopped { .. }) => return,
                Err(error) => tracing::warn!(%error, "this member could not announce itself yet"),
            }
        }
    }

    /// Brings the gauges up to date, before they are shown.
    pub fn refresh_metrics(&self) {
        let measured = self.raft.metrics();
        let status = measured.status();
        let metrics = &self.metrics;
        metrics.has_leader.set_flag(status.leader.is_some());
        metrics.is_leader.set_flag(status.role == RoleName::Leader);
        metrics.is_learner.set_flag(status.role == RoleName::Learner);
        metrics.leader_changes.raise_to(status.counters.leader_changes);
        metrics.proposals_committed.set_count(self.raft.commit_index().get());
        metrics.proposals_applied.set_count(self.raft.applied_index().get());
        metrics.proposals_pending.set_count(measured.waiting() as u64);
        metrics.proposals_failed.raise_to(status.counters.proposals_failed);
        metrics.server_id.at(&[&format!("{:x}", self.id())]).set(1.0);
        let network = measured.network();
        self.refresh_membership(&status.membership, &network);
        self.refresh_disk(&measured.storage());
        self.refresh_network(&network);
        let store = self.store.stats();
        metrics.db_bytes.set_count(store.bytes);
        metrics.db_in_use_bytes.set_count(store.bytes);
        metrics.keys.set_count(store.keys);
        set_signed(&metrics.current_revision, store.revision);
        set_signed(&metrics.compact_revision, store.compacted_revision);
    }

    fn refresh_membership(&self, membership: &Membership, network: &NetStats) {
        let is_heard = |node: &NodeId| {
            let peer = network.peers.get(node);
            *node == self.raft.id() || peer.is_some_and(|peer| peer.is_connected)
        };
        let metrics = &self.metrics;
        metrics.members.set_count(membership.members().len() as u64);
        metrics.voters.set_count(membership.voters().len() as u64);
        metrics.learners.set_count(membership.learners().count() as u64);
        metrics.is_joint.set_flag(membership.is_joint());
        metrics.failures_tolerated.set_count(failures_tolerated(membership, is_heard));
    }

    fn refresh_disk(&self, storage: &StorageStats) {
        let sync = storage.sync;
        self.metrics.wal_fsync_seconds.take_over(&sync.buckets, sync.total.as_secs_f64());
        self.metrics.wal_write_bytes.set_count(storage.bytes_written);
        self.metrics.sync_mode.at(&[storage.sync_mode.name()]).set_flag(true);
        self.metrics.has_disk_room.set_flag(self.raft.metrics().has_disk_room());
        self.metrics.unsynced_bytes.set_count(storage.unsynced_bytes);
    }

    fn refresh_network(&self, network: &NetStats) {
        let metrics = &self.metrics;
        let me = format!("{:x}", self.id());
        for (node, peer) in &network.peers {
            let node = format!("{:x}", node.get());
            metrics.peer_sent_bytes.at(&[&node]).raise_to(peer.sent.bytes);
            metrics.peer_received_bytes.at(&[&node]).raise_to(peer.received.bytes);
            let dropped = peer.dropped;
            let lost = dropped.full + dropped.down + dropped.too_large + dropped.broken;
            metrics.peer_sent_failures.at(&[&node]).raise_to(lost);
            metrics.active_peers.at(&[&me, &node]).set_flag(peer.is_connected);
        }
    }

    /// The leader's member id; zero if none is known.
    pub fn leader(&self) -> u64 {
        self.raft.leader().map_or(0, NodeId::get)
    }

    /// How long a health check may take.
    pub fn check_timeout(&self) -> Duration {
        Duration::from_secs(5) + 2 * self.config.election_timeout
    }
}

/// How many of the voters that are heard may fail, so that those left are a quorum, of both halves
/// while the membership is joint.
fn failures_tolerated(membership: &Membership, is_heard: impl Fn(&NodeId) -> bool) -> u64 {
    let spare = |voters: &BTreeSet<NodeId>| {
        let quorum = voters.len() / 2 + 1;
        voters.iter().filter(|node| is_heard(node)).count().saturating_sub(quorum)
    };
    let halves = [membership.voters(), membership.outgoing()];
    let spares = halves.into_iter().filter(|half| !half.is_empty()).map(spare);
    spares.min().unwrap_or_default() as u64
}

/// The length of a request as etcd writes it into its log. It is what etcd's limit is about, and so
/// the limit of a client's value is the same here to the byte.
fn entry_len(message: &impl Message) -> usize {
    let len = message.encoded_len();
    // One byte tells which kind of request follows.
    ENTRY_HEADER_BYTES + 1 + length_delimiter_len(len) + len
}

/// etcd numbers each entry: the tag and the length of its header, and in it a tag and a number of
/// the greatest length.
const ENTRY_HEADER_BYTES: usize = 2 + 1 + 1 + 10;

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float; revisions stay far below 2^53")]
fn set_signed(gauge: &Gauge, value: i64) {
    gauge.set(value as f64);
}

/// A write that has no answer, in etcd's words.
fn write_refused(error: &WriteError) -> Status {
    let known = match error {
        WriteError::NoLeader | WriteError::NotLeader { .. } => EtcdError::NoLeader,
        WriteError::TooLarge { .. } => EtcdError::RequestTooLarge,
        WriteError::Overloaded => EtcdError::TooManyRequests,
        WriteError::StorageFull => EtcdError::NoSpace,
        WriteError::Dropped => EtcdError::TimeoutDueToLeaderFail,
        WriteError::Stopped { .. } => EtcdError::Stopped,
        WriteError::TimedOut { .. } | _ => EtcdError::Timeout,
    };
    known.into()
}

/// A read that has no answer, in etcd's words.
pub(crate) fn read_refused(error: &ReadError) -> Status {
    let known = match error {
        ReadError::NoLeader => EtcdError::NoLeader,
        ReadError::Overloaded => EtcdError::TooManyRequests,
        ReadError::Stopped => EtcdError::Stopped,
        ReadError::TimedOut { .. } | _ => EtcdError::Timeout,
    };
    known.into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Three of three tolerate one failure, two of three none, and below a quorum it is none too.
    #[test]
    fn failures_are_tolerated_by_those_who_are_heard() {
        let node = |id| NodeId::new(id).unwrap();
        let members = |ids: &[u64]| {
            let member = |id: &u64| (node(*id), raft_runtime::Member::default());
            Membership::bootstrap(ids.iter().map(member).collect::<BTreeMap<_, _>>())
        };
        let three = members(&[1, 2, 3]);
        for (heard, expected) in [(3, 1), (2, 0), (1, 0)] {
            let is_heard = |node: &NodeId| node.get() <= heard;
            assert_eq!(failures_tolerated(&three, is_heard), expected, "{heard} of 3");
        }
        assert_eq!(failures_tolerated(&members(&[1, 2, 3, 4, 5]), |_| true), 2);
    }

    /// The largest value of a put, the largest key of a deletion and the largest value of a put in
    /// a transaction that a genuine etcd accepted with a limit of 1.5 MiB; one byte more it
    /// refused.
    #[test]
    fn the_largest_requests_are_those_of_etcd() {
        let bytes = |len| vec![b'x'; len].into();
        let put = |len| pb::PutRequest {
            key: "big".into(),
            value: bytes(len),
            ..pb::PutRequest::default()
        };
        let previous = pb::PutRequest { prev_kv: true, ..put(1_572_835) };
        let delete =
            pb::DeleteRangeRequest { key: bytes(1_572_842), ..pb::DeleteRangeRequest::default() };
        let request = Some(pb::request_op::Request::RequestPut(put(1_572_829)));
        let txn = pb::TxnRequest {
            success: vec![pb::RequestOp { request }],
            ..pb::TxnRequest::default()
        };
        let lens =
            [entry_len(&put(1_572_837)), entry_len(&previous), entry_len(&delete), entry_len(&txn)];
        assert_eq!(lens, [3 << 19; 4]);
    }
}
