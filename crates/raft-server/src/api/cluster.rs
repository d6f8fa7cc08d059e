//! The Cluster service: who the members are, and changes of that in the words of etcd.
//!
//! Two things differ from etcd. A member that is added to vote is a learner until it has caught up
//! and is promoted by itself; the answer comes as soon as it is a member. And there may be any
//! number of learners. Read next: `member/changes.rs`.

use raft_api::etcdserverpb as pb;
use raft_api::etcdserverpb::cluster_server::Cluster;
use raft_api::membership as own;
use raft_api::membership::change::Kind;
use raft_api::tonic::{Request, Response, Status, async_trait};

use super::Api;
use crate::member::{Hop, etcd};

impl Api {
    /// Makes one change; gives all members afterwards and the one that was added.
    async fn change(&self, kind: Kind, hop: Hop) -> Result<(Vec<pb::Member>, u64), Status> {
        let changes = vec![own::Change { kind: Some(kind) }];
        let request = own::ChangeRequest { changes, availability_at_risk: false };
        let answer = self.0.change(request, hop).await?;
        let members = answer.membership.unwrap_or_default().members;
        let added = answer.added.first().copied().unwrap_or_default();
        Ok((members.into_iter().map(etcd).collect(), added))
    }
}

// Headers of this service carry no revision (REV-7).
#[async_trait]
impl Cluster for Api {
    async fn member_list(
        &self,
        request: Request<pb::MemberListRequest>,
    ) -> Result<Response<pb::MemberListResponse>, Status> {
        if request.into_inner().linearizable {
            self.0.linearizable().await?;
        }
        let members = self.0.members().await;
        Ok(Response::new(pb::MemberListResponse { header: self.0.header(0), members }))
    }

    async fn member_add(
        &self,
        request: Request<pb::MemberAddRequest>,
    ) -> Result<Response<pb::MemberAddResponse>, Status> {
        let hop = Hop::of(&request);
        let pb::MemberAddRequest { peer_urls, is_learner } = request.into_inner();
        let promotion = if is_learner { own::Promotion::Manual } else { own::Promotion::Automatic };
        let add = own::Add { peer_urls, promotion: promotion.into(), replaces: 0 };
        let (members, added) = self.change(Kind::Add(add), hop).await?;
        let member = members.iter().find(|member| member.id == added).cloned();
        Ok(Response::new(pb::MemberAddResponse { header: self.0.header(0), member, members }))
    }

    async fn member_remove(
        &self,
        request: Request<pb::MemberRemoveRequest>,
    ) -> Result<Response<pb::MemberRemoveResponse>, Status> {
        let hop = Hop::of(&request);
        let (members, _) = self.change(Kind::Remove(request.into_inner().id), hop).await?;
        Ok(Response::new(pb::MemberRemoveResponse { header: self.0.header(0), members }))
    }

    async fn member_update(
        &self,
        request: Request<pb::MemberUpdateRequest>,
    ) -> Result<Response<pb::MemberUpdateResponse>, Status> {
        let hop = Hop::of(&request);
        let pb::MemberUpdateRequest { id, peer_urls } = request.into_inner();
        let (members, _) = self.change(Kind::Move(own::Move { id, peer_urls }), hop).await?;
        Ok(Response::new(pb::MemberUpdateResponse { header: self.0.header(0), members }))
    }

    async fn member_promote(
        &self,
        request: Request<pb::MemberPromoteRequest>,
    ) -> Result<Response<pb::MemberPromoteResponse>, Status> {
        let hop = Hop::of(&request);
        let (members, _) = self.change(Kind::Promote(request.into_inner().id), hop).await?;
        Ok(Response::new(pb::MemberPromoteResponse { header: self.0.header(0), members }))
    }
}
