//! The Maintenance service: Status, backups, and what needs no work in a store like this one.
//!
//! Read next: `../backup.rs`.

use raft_api::EtcdError;
use raft_api::etcdserverpb as pb;
use raft_api::etcdserverpb::alarm_request::AlarmAction;
use raft_api::etcdserverpb::downgrade_request::DowngradeAction;
use raft_api::etcdserverpb::maintenance_server::Maintenance;
use raft_api::tonic::{Request, Response, Status, async_trait};
use raft_runtime::{RoleName, SyncMode};

use super::{Api, unsupported};
use crate::backup::{self, BackupStream};
use crate::config::ETCD_VERSION;

#[async_trait]
impl Maintenance for Api {
    type SnapshotStream = BackupStream;

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
        let no_space = (!member.raft.metrics().has_disk_room())
            .then(|| format!("memberID:{} alarm:NOSPACE", member.id()));
        let mode = member.config.sync_mode;
        let unsynced = (mode != SyncMode::Full).then(|| {
            format!("sync mode {}: a power failure may cost acknowledged writes", mode.name())
        });
        Ok(Response::new(pb::StatusResponse {
            header: member.header(store.revision),
            version: ETCD_VERSION.to_owned(),
            db_size: size,
            leader,
            raft_index: status.commit_index.get(),
            raft_term: status.term.get(),
            raft_applied_index: status.last_applied.get(),
            errors: no_leader.into_iter().chain(unsynced).chain(no_space).collect(),
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
        // An alarm is a fact here: it is there as long as its cause, whoever disarms it.
        let action = AlarmAction::try_from(request.into_inner().action);
        if !matches!(action, Ok(AlarmAction::Get | AlarmAction::Deactivate)) {
            return Err(unsupported("raising alarms"));
        }
        let header = self.0.header(self.0.store.revision());
        let is_full = !self.0.raft.metrics().has_disk_room();
        let no_space = is_full.then(|| pb::AlarmMember {
            member_id: self.0.id(),
            alarm: pb::AlarmType::Nospace.into(),
        });
        Ok(Response::new(pb::AlarmResponse { header, alarms: no_space.into_iter().collect() }))
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
        backup::begin(&self.0).await.map(Response::new)
    }

    async fn move_leader(
        &self,
        request: Request<pb::MoveLeaderRequest>,
    ) -> Result<Response<pb::MoveLeaderResponse>, Status> {
        let target = request.into_inner().target_id;
        // Zero is nobody to etcd; to choose somebody is raftd's own (`raft.v1.Membership`).
        if target == 0 {
            return Err(EtcdError::BadLeaderTransferee.into());
        }
        self.0.transfer_here(target).await?;
        // The answer has no header (REV-7).
        Ok(Response::new(pb::MoveLeaderResponse { header: None }))
    }

    async fn downgrade(
        &self,
        request: Request<pb::DowngradeRequest>,
    ) -> Result<Response<pb::DowngradeResponse>, Status> {
        Err(no_downgrade(&request.into_inner()))
    }
}

/// Why nothing is downgraded: there is no older version to go to (MNT-10).
fn no_downgrade(request: &pb::DowngradeRequest) -> Status {
    match DowngradeAction::try_from(request.action) {
        Ok(DowngradeAction::Validate | DowngradeAction::Enable) => {
            if is_version(&request.version) {
                EtcdError::InvalidDowngradeTargetVersion.into()
            } else {
                EtcdError::WrongDowngradeVersionFormat.into()
            }
        }
        Ok(DowngradeAction::Cancel) => EtcdError::NoInflightDowngrade.into(),
        Err(_) => Status::unknown("etcdserver: unknown method"),
    }
}

/// Whether a text is a version such as 3.5 or 3.5.0-rc.1.
fn is_version(text: &str) -> bool {
    let numbers = text.split(['-', '+']).next().unwrap_or_default();
    let parts: Vec<_> = numbers.split('.').collect();
    (2..=3).contains(&parts.len()) && parts.iter().all(|part| part.parse::<u32>().is_ok())
}

#[cfg(test)]
mod tests {
    use raft_api::tonic::Code;

    use super::*;

    /// The reasons and texts are etcd's for the same requests, but that no version is a target.
    #[test]
    fn mnt_10_each_way_to_ask_for_a_downgrade_has_its_refusal() {
        let refusal = |action, version: &str| {
            no_downgrade(&pb::DowngradeRequest { action, version: version.to_owned() })
        };
        for (action, version, error) in [
            (0, "3.5.0", EtcdError::InvalidDowngradeTargetVersion),
            (1, "3.5", EtcdError::InvalidDowngradeTargetVersion),
            (0, "abc", EtcdError::WrongDowngradeVersionFormat),
            (1, "", EtcdError::WrongDowngradeVersionFormat),
            (0, "3", EtcdError::WrongDowngradeVersionFormat),
            (1, "3.5.0.1", EtcdError::WrongDowngradeVersionFormat),
            (2, "", EtcdError::NoInflightDowngrade),
        ] {
            let status = refusal(action, version);
            assert_eq!(EtcdError::from_status(&status), Some(error), "{action} {version}");
            assert_eq!(status.code(), error.code(), "{action} {version}");
        }
        let unknown = refusal(9, "3.5.0");
        assert_eq!(
            (unknown.code(), unknown.message()),
            (Code::Unknown, "etcdserver: unknown method")
        );
    }
}
