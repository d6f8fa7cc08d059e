//! The Maintenance service: Status, and what needs no work in a store like this one.

use raft_api::EtcdError;
use raft_api::etcdserverpb as pb;
use raft_api::etcdserverpb::maintenance_server::Maintenance;
use raft_api::tonic::codegen::tokio_stream;
use raft_api::tonic::{Request, Response, Status, async_trait};
use raft_runtime::RoleName;

use super::{Api, unsupported};
use crate::config::ETCD_VERSION;

/// A stream of answers that is never begun.
type Never<T> = tokio_stream::Empty<Result<T, Status>>;

#[async_trait]
impl Maintenance for Api {
    type SnapshotStream = Never<pb::SnapshotResponse>;

    async fn status(
        &self,
        _: Request<pb::StatusRequest>,
    ) -> Result<Response<pb::StatusResponse>, Status> {
        let member = &self.0;
        let status = member.raft.status_now().await.ok_or(EtcdError::Stopped)?;
        let store = member.store.stats();
        let size = i64::try_from(store.bytes).unwrap_or(i64::MAX);
        let leader = status.leader.map_or(0, raft_runtime::NodeId::get);
        let no_leader = (leader == 0).then(|| EtcdError::NoLeader.text().to_owned());
        Ok(Response::new(pb::StatusResponse {
            header: member.header(store.revision),
            version: ETCD_VERSION.to_owned(),
            db_size: size,
            leader,
            raft_index: status.commit_index.get(),
            raft_term: status.term.get(),
            raft_applied_index: status.last_applied.get(),
            errors: no_leader.into_iter().collect(),
            db_size_in_use: size,
            is_learner: status.role == RoleName::Learner,
            storage_version: crate::config::STORAGE_VERSION.to_owned(),
            db_size_quota: 0,
            downgrade_info: Some(pb::DowngradeInfo::default()),
        }))
    }

    async fn alarm(
        &self,
        request: Request<pb::AlarmRequest>,
    ) -> Result<Response<pb::AlarmResponse>, Status> {
        // Nothing raises an alarm yet, so the list of them is empty.
        if request.into_inner().action != pb::alarm_request::AlarmAction::Get as i32 {
            return Err(unsupported("raising and disarming alarms"));
        }
        let header = self.0.header(self.0.store.revision());
        Ok(Response::new(pb::AlarmResponse { header, alarms: Vec::new() }))
    }

    async fn defragment(
        &self,
        _: Request<pb::DefragmentRequest>,
    ) -> Result<Response<pb::DefragmentResponse>, Status> {
        // The store reclaims as it goes; there is nothing to do. The answer has no header (REV-7).
        Ok(Response::new(pb::DefragmentResponse { header: None }))
    }

    async fn hash(
        &self,
        _: Request<pb::HashRequest>,
    ) -> Result<Response<pb::HashResponse>, Status> {
        Err(unsupported("Hash"))
    }

    async fn hash_kv(
        &self,
        _: Request<pb::HashKvRequest>,
    ) -> Result<Response<pb::HashKvResponse>, Status> {
        Err(unsupported("HashKV"))
    }

    async fn snapshot(
        &self,
        _: Request<pb::SnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        Err(unsupported("Snapshot"))
    }

    async fn move_leader(
        &self,
        _: Request<pb::MoveLeaderRequest>,
    ) -> Result<Response<pb::MoveLeaderResponse>, Status> {
        Err(unsupported("MoveLeader"))
    }

    async fn downgrade(
        &self,
        _: Request<pb::DowngradeRequest>,
    ) -> Result<Response<pb::DowngradeResponse>, Status> {
        Err(EtcdError::InvalidDowngradeTargetVersion.into())
    }
}
