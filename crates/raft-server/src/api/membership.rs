//! raftd's own service `raft.v1.Membership`: what etcd's Cluster service cannot say.
//!
//! Read next: `member/changes.rs`.

use raft_api::membership as own;
use raft_api::membership::membership_server::Membership;
use raft_api::tonic::{Request, Response, Status, async_trait};

use super::Api;
use crate::member::Hop;

#[async_trait]
impl Membership for Api {
    async fn show(
        &self,
        _: Request<own::ShowRequest>,
    ) -> Result<Response<own::ShowResponse>, Status> {
        self.0.linearizable().await?;
        Ok(Response::new(self.0.show().await))
    }

    async fn change(
        &self,
        request: Request<own::ChangeRequest>,
    ) -> Result<Response<own::ChangeResponse>, Status> {
        let hop = Hop::of(&request);
        Ok(Response::new(self.0.change(request.into_inner(), hop).await?))
    }

    async fn transfer_leadership(
        &self,
        request: Request<own::TransferLeadershipRequest>,
    ) -> Result<Response<own::TransferLeadershipResponse>, Status> {
        let hop = Hop::of(&request);
        let leader = self.0.transfer(request.into_inner().target, hop).await?;
        Ok(Response::new(own::TransferLeadershipResponse { leader }))
    }
}
