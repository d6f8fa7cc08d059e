//! The Cluster service: the member list. Changes of the membership come with a later version.

use raft_api::etcdserverpb as pb;
use raft_api::etcdserverpb::cluster_server::Cluster;
use raft_api::tonic::{Request, Response, Status, async_trait};

use super::{Api, unsupported};

#[async_trait]
impl Cluster for Api {
    async fn member_list(
        &self,
        request: Request<pb::MemberListRequest>,
    ) -> Result<Response<pb::MemberListResponse>, Status> {
        if request.into_inner().linearizable {
            self.0.linearizable().await?;
        }
        // Headers of this service carry no revision (REV-7).
        let header = self.0.header(0);
        Ok(Response::new(pb::MemberListResponse { header, members: self.0.members() }))
    }

    async fn member_add(
        &self,
        _: Request<pb::MemberAddRequest>,
    ) -> Result<Response<pb::MemberAddResponse>, Status> {
        Err(unsupported("MemberAdd"))
    }

    async fn member_remove(
        &self,
        _: Request<pb::MemberRemoveRequest>,
    ) -> Result<Response<pb::MemberRemoveResponse>, Status> {
        Err(unsupported("MemberRemove"))
    }

    async fn member_update(
        &self,
        _: Request<pb::MemberUpdateRequest>,
    ) -> Result<Response<pb::MemberUpdateResponse>, Status> {
        Err(unsupported("MemberUpdate"))
    }

    async fn member_promote(
        &self,
        _: Request<pb::MemberPromoteRequest>,
    ) -> Result<Response<pb::MemberPromoteResponse>, Status> {
        Err(unsupported("MemberPromote"))
    }
}
