//! Calls to one member, over gRPC, and what an error says about who made it.

use std::error::Error as _;
use std::fmt;
use std::time::Duration;

use raft_api::EtcdError;
use raft_api::etcdserverpb as pb;
use raft_api::etcdserverpb::cluster_client::ClusterClient;
use raft_api::etcdserverpb::kv_client::KvClient;
use raft_api::etcdserverpb::maintenance_client::MaintenanceClient;
use raft_api::membership as own;
use raft_api::membership::change::Kind;
use raft_api::membership::membership_client::MembershipClient;
use raft_api::tonic::transport::{Channel, Endpoint};
use raft_api::tonic::{Status, Streaming};

/// A client of one member, which connects when it is first used and again when the member was
/// gone. Clones share the connection.
#[derive(Clone, Debug)]
pub struct Client(Channel);

/// Above any time limit of the server: a call that takes longer hangs.
const CALL_TIME_MAX: Duration = Duration::from_secs(30);

/// One method of a service with its messages.
macro_rules! calls {
    ($($(#[$doc:meta])* $name:ident: $client:ident, $request:path => $response:path;)*) => {
        impl Client {
            $(
                $(#[$doc])*
                pub async fn $name(&self, request: $request) -> Result<$response, Status> {
                    let mut client = $client::new(self.0.clone())
                        .max_decoding_message_size(usize::MAX)
                        .max_encoding_message_size(usize::MAX);
                    Ok(client.$name(request).await?.into_inner())
                }
            )*
        }
    };
}

calls! {
    /// Reads keys.
    range: KvClient, pb::RangeRequest => pb::RangeResponse;
    /// Writes a key.
    put: KvClient, pb::PutRequest => pb::PutResponse;
    /// Deletes keys.
    delete_range: KvClient, pb::DeleteRangeRequest => pb::DeleteRangeResponse;
    /// Executes a transaction.
    txn: KvClient, pb::TxnRequest => pb::TxnResponse;
    /// Forgets old revisions.
    compact: KvClient, pb::CompactionRequest => pb::CompactionResponse;
    /// Lists the members.
    member_list: ClusterClient, pb::MemberListRequest => pb::MemberListResponse;
    /// Adds a member.
    member_add: ClusterClient, pb::MemberAddRequest => pb::MemberAddResponse;
    /// Removes a member.
    member_remove: ClusterClient, pb::MemberRemoveRequest => pb::MemberRemoveResponse;
    /// Changes the peer URLs of a member.
    member_update: ClusterClient, pb::MemberUpdateRequest => pb::MemberUpdateResponse;
    /// Makes a learner a voter.
    member_promote: ClusterClient, pb::MemberPromoteRequest => pb::MemberPromoteResponse;
    /// Asks the member how it is.
    status: MaintenanceClient, pb::StatusRequest => pb::StatusResponse;
    /// Hands leadership over, if the member leads.
    move_leader: MaintenanceClient, pb::MoveLeaderRequest => pb::MoveLeaderResponse;
    /// Shows the membership.
    show: MembershipClient, own::ShowRequest => own::ShowResponse;
    /// Changes the membership.
    change: MembershipClient, own::ChangeRequest => own::ChangeResponse;
    /// Hands leadership over, whoever leads.
    transfer_leadership: MembershipClient,
        own::TransferLeadershipRequest => own::TransferLeadershipResponse;
}

impl Client {
    /// A client of the member at this URL.
    pub fn new(url: &str) -> Self {
        let endpoint = Endpoint::from_shared(url.to_owned()).expect("a test writes right URLs");
        Self(endpoint.tcp_nodelay(true).timeout(CALL_TIME_MAX).connect_lazy())
    }

    /// Makes one change of the membership, with every guard rail.
    pub async fn change_one(&self, kind: Kind) -> Result<own::ChangeResponse, Status> {
        let changes = vec![own::Change { kind: Some(kind) }];
        self.change(own::ChangeRequest { changes, availability_at_risk: false }).await
    }

    /// Adds a member with one peer URL, which will vote if it is no learner.
    pub async fn add_member(&self, peer_url: &str, is_learner: bool) -> Result<pb::Member, Status> {
        let peer_urls = vec![peer_url.to_owned()];
        let answer = self.member_add(pb::MemberAddRequest { peer_urls, is_learner }).await?;
        answer.member.ok_or_else(|| Status::internal("no member in the answer"))
    }

    /// Begins a backup, of which nothing is taken yet.
    pub async fn begin_backup(&self) -> Result<Streaming<pb::SnapshotResponse>, Status> {
        let mut client = MaintenanceClient::new(self.0.clone());
        Ok(client.snapshot(pb::SnapshotRequest {}).await?.into_inner())
    }

    /// Takes a backup; gives its bytes. What was said to be left is compared with what came.
    pub async fn backup(&self) -> Result<Vec<u8>, Status> {
        let mut stream = self.begin_backup().await?;
        let (mut bytes, mut left) = (Vec::new(), None);
        while let Some(piece) = stream.message().await? {
            bytes.extend_from_slice(&piece.blob);
            let now = piece.remaining_bytes;
            let is_hash = left == Some(0);
            let expected = left.map(|left: u64| left.saturating_sub(piece.blob.len() as u64));
            assert!(is_hash || expected.is_none_or(|expected| expected == now), "bytes are left");
            left = Some(now);
        }
        assert_eq!(left, Some(0), "all of it came");
        Ok(bytes)
    }

    /// Writes `value` to `key`; gives the revision.
    pub async fn write(&self, key: &str, value: &str) -> Result<i64, Status> {
        let put = pb::PutRequest {
            key: key.to_owned().into(),
            value: value.to_owned().into(),
            ..pb::PutRequest::default()
        };
        Ok(self.put(put).await?.header.map_or(0, |header| header.revision))
    }

    /// Reads `key` linearizably.
    pub async fn read(&self, key: &str) -> Result<Option<String>, Status> {
        self.read_with(key, false).await
    }

    /// Reads `key` from the member's own state, however old.
    pub async fn read_local(&self, key: &str) -> Result<Option<String>, Status> {
        self.read_with(key, true).await
    }

    async fn read_with(&self, key: &str, serializable: bool) -> Result<Option<String>, Status> {
        let range = pb::RangeRequest {
            key: key.to_owned().into(),
            serializable,
            ..pb::RangeRequest::default()
        };
        let found = self.range(range).await?.kvs.into_iter().next();
        Ok(found.map(|kv| String::from_utf8_lossy(&kv.value).into_owned()))
    }

    /// Reads everything that begins with `prefix`, from the member's own state if `serializable`.
    pub async fn read_all(
        &self,
        prefix: &str,
        serializable: bool,
    ) -> Result<pb::RangeResponse, Status> {
        let mut end = prefix.as_bytes().to_vec();
        *end.last_mut().expect("a prefix is not empty") += 1;
        self.range(pb::RangeRequest {
            key: prefix.to_owned().into(),
            range_end: end.into(),
            serializable,
            ..pb::RangeRequest::default()
        })
        .await
    }
}

/// Who made an error, and what it says about the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The server answered with an error of etcd's table.
    Etcd(EtcdError),
    /// The connection broke or none came about.
    Connection(String),
    /// The server answered something that clients of etcd do not know.
    Strange(String),
}

impl Failure {
    /// Looks at an error.
    pub fn of(status: &Status) -> Self {
        if let Some(error) = EtcdError::from_status(status)
            && error.code() == status.code()
        {
            return Self::Etcd(error);
        }
        // What came over the wire has no cause on this side.
        match status.source() {
            Some(_) => Self::Connection(status.to_string()),
            None => Self::Strange(status.to_string()),
        }
    }

    /// Whether the request was surely not executed and never will be.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Etcd(error) => !error.is_ambiguous(),
            Self::Connection(_) | Self::Strange(_) => false,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Etcd(error) => error.fmt(f),
            Self::Connection(text) => write!(f, "connection: {text}"),
            Self::Strange(text) => write!(f, "strange answer: {text}"),
        }
    }
}
