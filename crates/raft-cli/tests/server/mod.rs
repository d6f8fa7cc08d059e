//! A server that records what it is asked and answers from a short list, in this process and on a
//! port of the system's choice.
//!
//! It stores nothing: what is tested is what a command asks and how it takes the answer.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use http::Request as HttpRequest;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use raft_api::bytes::Bytes;
use raft_api::etcdserverpb::cluster_server::{Cluster, ClusterServer};
use raft_api::etcdserverpb::kv_server::{Kv, KvServer};
use raft_api::etcdserverpb::maintenance_server::{Maintenance, MaintenanceServer};
use raft_api::etcdserverpb::{
    AlarmMember, AlarmRequest, AlarmResponse, CompactionRequest, CompactionResponse,
    DefragmentRequest, DefragmentResponse, DeleteRangeRequest, DeleteRangeResponse,
    DowngradeRequest, DowngradeResponse, HashKvRequest, HashKvResponse, HashRequest, HashResponse,
    Member, MemberAddRequest, MemberAddResponse, MemberListRequest, MemberListResponse,
    MemberPromoteRequest, MemberPromoteResponse, MemberRemoveRequest, MemberRemoveResponse,
    MemberUpdateRequest, MemberUpdateResponse, MoveLeaderRequest, MoveLeaderResponse, PutRequest,
    PutResponse, RangeRequest, RangeResponse, RangeStreamResponse, ResponseHeader, SnapshotRequest,
    SnapshotResponse, StatusRequest, StatusResponse, TxnRequest, TxnResponse,
};
use raft_api::membership::membership_server::{Membership, MembershipServer};
use raft_api::membership::{
    ChangeRequest, ChangeResponse, MemberState, ShowRequest, ShowResponse,
    TransferLeadershipRequest, TransferLeadershipResponse,
};
use raft_api::mvccpb::KeyValue;
use raft_api::tonic::codegen::{BoxStream, Service, async_trait, tokio_stream};
use raft_api::tonic::{Request, Response, Status, body::Body};
use tokio::net::TcpListener;
use tokio::sync::Notify;

/// What the server was asked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Asked {
    Range(RangeRequest),
    Put(PutRequest),
    DeleteRange(DeleteRangeRequest),
    Txn(TxnRequest),
    Compact(CompactionRequest),
    MemberList(MemberListRequest),
    MemberAdd(MemberAddRequest),
    MemberRemove(MemberRemoveRequest),
    MemberUpdate(MemberUpdateRequest),
    MemberPromote(MemberPromoteRequest),
    Change(ChangeRequest),
    TransferLeadership(TransferLeadershipRequest),
    MoveLeader(MoveLeaderRequest),
    Status,
    Alarm(AlarmRequest),
    Snapshot,
}

/// What a backup consists of.
#[derive(Clone, Debug, Default)]
struct Backup {
    pieces: Vec<Bytes>,
    end: Option<Status>,
}

/// What the server does instead of answering.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// Answers with an error.
    Refuse(Status),
    /// Never answers.
    Hang,
    /// Drops the connection.
    HangUp,
}

/// A running server. It stops with its runtime.
#[derive(Clone)]
pub(crate) struct Server(Arc<Shared>);

struct Shared {
    address: SocketAddr,
    asked: Mutex<Vec<Asked>>,
    troubles: Mutex<VecDeque<Trouble>>,
    members: Mutex<Vec<Member>>,
    alarms: Mutex<Vec<AlarmMember>>,
    value: Mutex<Bytes>,
    backup: Mutex<Backup>,
    hang_up: Notify,
}

impl Server {
    /// Starts a server that is well.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let server = Self(Arc::new(Shared {
            address: listener.local_addr().expect("it is bound"),
            asked: Mutex::default(),
            troubles: Mutex::default(),
            members: Mutex::default(),
            alarms: Mutex::default(),
            value: Mutex::new(Bytes::from_static(b"stored")),
            backup: Mutex::default(),
            hang_up: Notify::new(),
        }));
        tokio::spawn(server.clone().serve(listener));
        server
    }

    /// Makes the next request end in trouble.
    pub(crate) fn with_trouble(self, trouble: Trouble) -> Self {
        lock(&self.0.troubles).push_back(trouble);
        self
    }

    /// Makes this the membership.
    pub(crate) fn with_members(self, members: Vec<Member>) -> Self {
        *lock(&self.0.members) = members;
        self
    }

    /// Raises an alarm.
    pub(crate) fn with_alarm(self, alarm: AlarmMember) -> Self {
        lock(&self.0.alarms).push(alarm);
        self
    }

    /// Makes this the value of every key.
    pub(crate) fn with_value(self, value: Bytes) -> Self {
        *lock(&self.0.value) = value;
        self
    }

    /// Makes this the backup that is saved; with an end, the stream breaks with it.
    pub(crate) fn with_backup(self, pieces: &[&[u8]], end: Option<Status>) -> Self {
        let pieces = pieces.iter().map(|piece| Bytes::copy_from_slice(piece)).collect();
        *lock(&self.0.backup) = Backup { pieces, end };
        self
    }

    /// Its endpoint.
    pub(crate) fn endpoint(&self) -> String {
        self.0.address.to_string()
    }

    /// All it was asked, in order.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        lock(&self.0.asked).clone()
    }

    async fn serve(self, listener: TcpListener) {
        while let Ok((socket, _)) = listener.accept().await {
            let server = self.clone();
            tokio::spawn(async move {
                let route = service_fn(|request| server.clone().route(request));
                let builder = auto::Builder::new(TokioExecutor::new()).http2_only();
                let connection = builder.serve_connection(TokioIo::new(socket), route);
                tokio::select! {
                    // A client that goes away is no trouble of ours.
                    _ = connection => {}
                    () = server.0.hang_up.notified() => {}
                }
            });
        }
    }

    async fn route(
        self,
        request: HttpRequest<Incoming>,
    ) -> Result<http::Response<Body>, std::convert::Infallible> {
        let service = request.uri().path().split('/').nth(1).unwrap_or_default().to_owned();
        match &service[..] {
            "etcdserverpb.KV" => KvServer::new(self).call(request).await,
            "etcdserverpb.Cluster" => ClusterServer::new(self).call(request).await,
            "etcdserverpb.Maintenance" => MaintenanceServer::new(self).call(request).await,
            "raft.v1.Membership" => MembershipServer::new(self).call(request).await,
            other => Ok(Status::unimplemented(other).into_http()),
        }
    }

    fn kv(&self, key: &Bytes) -> KeyValue {
        let (key, value) = (key.clone(), lock(&self.0.value).clone());
        KeyValue { key, value, version: 1, ..KeyValue::default() }
    }

    /// Records what was asked, then has its trouble, if one is due.
    async fn note(&self, asked: Asked) -> Result<(), Status> {
        lock(&self.0.asked).push(asked);
        let trouble = lock(&self.0.troubles).pop_front();
        match trouble {
            None => Ok(()),
            Some(Trouble::Refuse(status)) => Err(status),
            Some(Trouble::Hang) => std::future::pending().await,
            Some(Trouble::HangUp) => {
                self.0.hang_up.notify_one();
                std::future::pending().await
            }
        }
    }
}

#[async_trait]
impl Kv for Server {
    async fn range(
        &self,
        request: Request<RangeRequest>,
    ) -> Result<Response<RangeResponse>, Status> {
        let request = request.into_inner();
        self.note(Asked::Range(request.clone())).await?;
        let kvs = if request.count_only { Vec::new() } else { vec![self.kv(&request.key)] };
        Ok(Response::new(RangeResponse { header: Some(HEADER), kvs, more: false, count: 1 }))
    }

    type RangeStreamStream = BoxStream<RangeStreamResponse>;

    async fn range_stream(
        &self,
        _: Request<RangeRequest>,
    ) -> Result<Response<Self::RangeStreamStream>, Status> {
        Err(unused())
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        let request = request.into_inner();
        self.note(Asked::Put(request.clone())).await?;
        let prev_kv = request.prev_kv.then(|| self.kv(&request.key));
        Ok(Response::new(PutResponse { header: Some(HEADER), prev_kv }))
    }

    async fn delete_range(
        &self,
        request: Request<DeleteRangeRequest>,
    ) -> Result<Response<DeleteRangeResponse>, Status> {
        let request = request.into_inner();
        self.note(Asked::DeleteRange(request.clone())).await?;
        let prev_kvs = if request.prev_kv { vec![self.kv(&request.key)] } else { Vec::new() };
        Ok(Response::new(DeleteRangeResponse { header: Some(HEADER), deleted: 1, prev_kvs }))
    }

    async fn txn(&self, request: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        self.note(Asked::Txn(request.into_inner())).await?;
        Ok(Response::new(TxnResponse {
            header: Some(HEADER),
            succeeded: true,
            responses: Vec::new(),
        }))
    }

    async fn compact(
        &self,
        request: Request<CompactionRequest>,
    ) -> Result<Response<CompactionResponse>, Status> {
        self.note(Asked::Compact(request.into_inner())).await?;
        Ok(Response::new(CompactionResponse { header: Some(HEADER) }))
    }
}

#[async_trait]
impl Cluster for Server {
    async fn member_list(
        &self,
        request: Request<MemberListRequest>,
    ) -> Result<Response<MemberListResponse>, Status> {
        self.note(Asked::MemberList(request.into_inner())).await?;
        let members = lock(&self.0.members).clone();
        Ok(Response::new(MemberListResponse { header: Some(HEADER), members }))
    }

    async fn member_add(
        &self,
        request: Request<MemberAddRequest>,
    ) -> Result<Response<MemberAddResponse>, Status> {
        let request = request.into_inner();
        let peer_urls = request.peer_urls.clone();
        self.note(Asked::MemberAdd(request)).await?;
        let member = Member { id: NEW, peer_urls, is_learner: true, ..Member::default() };
        let mut members = lock(&self.0.members).clone();
        members.push(member.clone());
        let member = Some(member);
        Ok(Response::new(MemberAddResponse { header: Some(HEADER), member, members }))
    }

    async fn member_remove(
        &self,
        request: Request<MemberRemoveRequest>,
    ) -> Result<Response<MemberRemoveResponse>, Status> {
        self.note(Asked::MemberRemove(request.into_inner())).await?;
        let members = lock(&self.0.members).clone();
        Ok(Response::new(MemberRemoveResponse { header: Some(HEADER), members }))
    }

    async fn member_update(
        &self,
        request: Request<MemberUpdateRequest>,
    ) -> Result<Response<MemberUpdateResponse>, Status> {
        self.note(Asked::MemberUpdate(request.into_inner())).await?;
        let members = lock(&self.0.members).clone();
        Ok(Response::new(MemberUpdateResponse { header: Some(HEADER), members }))
    }

    async fn member_promote(
        &self,
        request: Request<MemberPromoteRequest>,
    ) -> Result<Response<MemberPromoteResponse>, Status> {
        self.note(Asked::MemberPromote(request.into_inner())).await?;
        let members = lock(&self.0.members).clone();
        Ok(Response::new(MemberPromoteResponse { header: Some(HEADER), members }))
    }
}

/// The id of every member that is added.
pub(crate) const NEW: u64 = 0xabc;

#[async_trait]
impl Membership for Server {
    async fn show(&self, _: Request<ShowRequest>) -> Result<Response<ShowResponse>, Status> {
        Err(unused())
    }

    async fn change(
        &self,
        request: Request<ChangeRequest>,
    ) -> Result<Response<ChangeResponse>, Status> {
        self.note(Asked::Change(request.into_inner())).await?;
        let known = lock(&self.0.members).clone();
        let new = Member { id: NEW, ..Member::default() };
        let state = |member: Member| MemberState {
            id: member.id,
            name: member.name,
            peer_urls: member.peer_urls,
            is_voter: member.id != NEW,
            ..MemberState::default()
        };
        let members = known.into_iter().chain([new]).map(state).collect();
        let membership = Some(ShowResponse { cluster_id: 1, members, ..ShowResponse::default() });
        Ok(Response::new(ChangeResponse { membership, added: vec![NEW] }))
    }

    async fn transfer_leadership(
        &self,
        request: Request<TransferLeadershipRequest>,
    ) -> Result<Response<TransferLeadershipResponse>, Status> {
        let request = request.into_inner();
        self.note(Asked::TransferLeadership(request)).await?;
        Ok(Response::new(TransferLeadershipResponse { leader: request.target.max(1) }))
    }
}

#[async_trait]
impl Maintenance for Server {
    async fn alarm(
        &self,
        request: Request<AlarmRequest>,
    ) -> Result<Response<AlarmResponse>, Status> {
        self.note(Asked::Alarm(request.into_inner())).await?;
        let alarms = lock(&self.0.alarms).clone();
        Ok(Response::new(AlarmResponse { header: Some(HEADER), alarms }))
    }

    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        self.note(Asked::Status).await?;
        Ok(Response::new(StatusResponse {
            header: Some(HEADER),
            version: "3.6.14".to_owned(),
            leader: 2,
            ..StatusResponse::default()
        }))
    }

    async fn defragment(
        &self,
        _: Request<DefragmentRequest>,
    ) -> Result<Response<DefragmentResponse>, Status> {
        Err(unused())
    }

    async fn hash(&self, _: Request<HashRequest>) -> Result<Response<HashResponse>, Status> {
        Err(unused())
    }

    async fn hash_kv(&self, _: Request<HashKvRequest>) -> Result<Response<HashKvResponse>, Status> {
        Err(unused())
    }

    type SnapshotStream = BoxStream<SnapshotResponse>;

    async fn snapshot(
        &self,
        _: Request<SnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        self.note(Asked::Snapshot).await?;
        let Backup { pieces, end } = lock(&self.0.backup).clone();
        let answers = pieces
            .into_iter()
            .map(|blob| Ok(SnapshotResponse { blob, ..SnapshotResponse::default() }));
        let answers: Vec<_> = answers.chain(end.map(Err)).collect();
        Ok(Response::new(Box::pin(tokio_stream::iter(answers))))
    }

    async fn move_leader(
        &self,
        request: Request<MoveLeaderRequest>,
    ) -> Result<Response<MoveLeaderResponse>, Status> {
        self.note(Asked::MoveLeader(request.into_inner())).await?;
        Ok(Response::new(MoveLeaderResponse { header: None }))
    }

    async fn downgrade(
        &self,
        _: Request<DowngradeRequest>,
    ) -> Result<Response<DowngradeResponse>, Status> {
        Err(unused())
    }
}

fn unused() -> Status {
    Status::unimplemented("no command of raftctl calls this")
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const HEADER: ResponseHeader =
    ResponseHeader { cluster_id: 1, member_id: 2, revision: 3, raft_term: 4 };
