//! What probes ask: the health service of gRPC, and the checks behind `/health` and `/readyz`.

use std::collections::BTreeSet;

use raft_api::health as pb;
use raft_api::health::health_server::Health as HealthService;
use raft_api::tonic::codegen::tokio_stream;
use raft_api::tonic::{Request, Response, Status, async_trait};

use super::{Api, unsupported};
use crate::config::STORAGE_VERSION;
use crate::http::{Alarm, Health};

/// A stream of answers that is never begun.
type Never<T> = tokio_stream::Empty<Result<T, Status>>;

#[async_trait]
impl HealthService for Api {
    type WatchStream = Never<pb::HealthCheckResponse>;

    async fn check(
        &self,
        request: Request<pb::HealthCheckRequest>,
    ) -> Result<Response<pb::HealthCheckResponse>, Status> {
        let service = request.into_inner().service;
        if !service.is_empty() {
            return Err(Status::not_found("unknown service"));
        }
        let status = if self.0.is_removed() {
            pb::health_check_response::ServingStatus::NotServing
        } else {
            pb::health_check_response::ServingStatus::Serving
        };
        Ok(Response::new(pb::HealthCheckResponse { status: status.into() }))
    }

    async fn watch(
        &self,
        _: Request<pb::HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Err(unsupported("Watch"))
    }
}

impl Health for Api {
    async fn linearizable_read(&self) -> Result<(), String> {
        if self.0.is_removed() {
            return Err("this member was removed from the cluster".to_owned());
        }
        self.0.linearizable().await.map_err(|status| status.message().to_owned())
    }

    async fn serializable_read(&self) -> Result<(), String> {
        // The local store always answers; asking it proves that its lock is free.
        let _ = self.0.store.revision();
        Ok(())
    }

    fn has_leader(&self) -> bool {
        self.0.leader() != 0
    }

    fn is_learner(&self) -> bool {
        self.0.raft.metrics().status().role == raft_runtime::RoleName::Learner
    }

    fn alarms(&self) -> BTreeSet<Alarm> {
        BTreeSet::new()
    }

    fn cluster_version(&self) -> Option<String> {
        self.has_leader().then(|| STORAGE_VERSION.to_owned())
    }

    fn storage_version(&self) -> Option<String> {
        Some(STORAGE_VERSION.to_owned())
    }
}
