//! Calls to one member, over gRPC, and what an error says about who made it.

use std::error::Error as _;
use std::fmt;
use std::time::Duration;

use raft_api::EtcdError;
use raft_api::etcdserverpb as pb;
use raft_api::etcdserverpb::cluster_client::ClusterClient;
use raft_api::etcdserverpb::kv_client::KvClient;
use raft_api::etcdserverpb::maintenance_client::MaintenanceClient;
use raft_api::tonic::Status;
use raft_api::tonic::transport::{Channel, Endpoint};

/// A client of one member, which connects when it is first used and again when the member was
/// gone. Clones share the connection.
#[derive(Clone, Debug)]
pub struct Client(Channel);

/// Above any time limit of the server: a call that takes longer hangs.
const CALL_TIME_MAX: Duration = Duration::from_secs(30);

/// One method of a service with its messages.
macro_rules! calls {
    ($($(#[$doc:meta])* $name:ident: $client:ident, $request:ident => $response:ident;)*) => {
        impl Client {
            $(
                $(#[$doc])*
                pub async fn $name(&self, request: pb::$request) -> Result<pb::$response, Status> {
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
    range: KvClient, RangeRequest => RangeResponse;
    /// Writes a key.
    put: KvClient, PutRequest => PutResponse;
    /// Deletes keys.
    delete_range: KvClient, DeleteRangeRequest => DeleteRangeResponse;
    /// Executes a transaction.
    txn: KvClient, TxnRequest => TxnResponse;
    /// Forgets old revisions.
    compact: KvClient, CompactionRequest => CompactionResponse;
    /// Lists the members.
    member_list: ClusterClient, MemberListRequest => MemberListResponse;
    /// Asks the member how it is.
    status: MaintenanceClient, StatusRequest => StatusResponse;
}

impl Client {
    /// A client of the member at this URL.
    pub fn new(url: &str) -> Self {
        let endpoint = Endpoint::from_shared(url.to_owned()).expect("a test writes right URLs");
        Self(endpoint.tcp_nodelay(true).timeout(CALL_TIME_MAX).connect_lazy())
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
