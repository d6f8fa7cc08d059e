//! Changes of the membership and transfers of leadership, asked of any member and done by the
//! leader.
//!
//! * A member that does not lead hands the request to the one that does, over gRPC and at most one
//!   hop far: what was handed over is marked and never handed on.
//! * Only what was certainly not done is tried again, until the time limit.
//! * The id of a new member is made of its peer URLs and the token of the cluster, as the member
//!   itself makes it: nobody has to tell it.
//!
//! Read next: `list.rs`; `api/cluster.rs` and `api/membership.rs`, the services.

use std::error::Error as _;
use std::time::Duration;

use raft_api::EtcdError;
use raft_api::etcdserverpb as pb;
use raft_api::membership as own;
use raft_api::membership::change::Kind;
use raft_api::membership::membership_client::MembershipClient;
use raft_api::tonic::transport::{Channel, Endpoint};
use raft_api::tonic::{Request, Status};
use raft_runtime::{
    Change, ChangeError, ChangeRefusal, ChangeRequest, Incarnation, Membership, NodeId, Promotion,
    TransferError, TransferRefusal, probe,
};
use tokio::time::{Instant, sleep, timeout};

use super::Member;
use crate::config::Url;
use crate::identity::MemberId;
use crate::machine::announcement;

/// Whether a request came from a client or from another member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    /// From a client: it may be handed to the leader.
    First,
    /// From a member that took this one for the leader.
    Last,
}

impl Hop {
    /// Looks for the mark.
    pub fn of<T>(request: &Request<T>) -> Self {
        if request.metadata().contains_key(FORWARDED) { Self::Last } else { Self::First }
    }
}

/// The mark on a request that was handed over; its value is the member that did.
const FORWARDED: &str = "raftd-forwarded-by";

/// Between two tries while nobody leads or the leader is not the one it was.
const RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// A leader that is reachable accepts a connection at once.
const DIAL_TIME_MAX: Duration = Duration::from_secs(1);

/// How long a member may take to say which disk it has.
const PROBE_TIME_MAX: Duration = Duration::from_secs(2);

/// What only the leader can do.
#[derive(Clone, Debug)]
enum Errand {
    Change(own::ChangeRequest),
    Transfer(own::TransferLeadershipRequest),
}

/// What came of an [`Errand`].
#[derive(Debug)]
enum Done {
    Changed(own::ChangeResponse),
    Led(u64),
}

impl Member {
    /// Changes the membership, here or at the leader.
    ///
    /// # Errors
    ///
    /// In etcd's codes and words where it has them.
    pub async fn change(
        &self,
        request: own::ChangeRequest,
        hop: Hop,
    ) -> Result<own::ChangeResponse, Status> {
        match self.led(&Errand::Change(request), hop).await? {
            Done::Changed(response) => Ok(response),
            Done::Led(_) => Err(Status::internal("raftd: another errand was done")),
        }
    }

    /// Hands leadership to a voter, or to the one that lacks least for zero, whoever leads now.
    ///
    /// # Errors
    ///
    /// In etcd's codes and words where it has them.
    pub async fn transfer(&self, target: u64, hop: Hop) -> Result<u64, Status> {
        let request = own::TransferLeadershipRequest { target };
        match self.led(&Errand::Transfer(request), hop).await? {
            Done::Led(leader) => Ok(leader),
            Done::Changed(_) => Err(Status::internal("raftd: another errand was done")),
        }
    }

    /// Does something where the leader is.
    async fn led(&self, errand: &Errand, hop: Hop) -> Result<Done, Status> {
        let deadline = Instant::now() + self.check_timeout();
        loop {
            let tried = match self.raft.leader() {
                Some(leader) if leader == self.raft.id() => self.run_here(errand).await,
                Some(leader) if hop == Hop::First => {
                    self.hand_over(leader, deadline, errand.clone()).await
                }
                Some(_) => Err(EtcdError::NotLeader.into()),
                None => Err(EtcdError::NoLeader.into()),
            };
            let known = tried.as_ref().err().and_then(EtcdError::from_status);
            // Both say that nothing was done.
            let is_passing = matches!(known, Some(EtcdError::NotLeader | EtcdError::NoLeader));
            if !is_passing || Instant::now() >= deadline {
                return tried;
            }
            if hop == Hop::Last {
                // The member that asked looks for the leader itself.
                return Err(EtcdError::NotLeader.into());
            }
            sleep(RETRY_INTERVAL).await;
        }
    }

    async fn run_here(&self, errand: &Errand) -> Result<Done, Status> {
        match errand {
            Errand::Change(request) => self.change_here(request).await.map(Done::Changed),
            Errand::Transfer(request) => self.transfer_here(request.target).await.map(Done::Led),
        }
    }

    /// Asks the leader at the URLs that it announced to clients.
    async fn hand_over(
        &self,
        leader: NodeId,
        deadline: Instant,
        errand: Errand,
    ) -> Result<Done, Status> {
        let urls = self.announced.get(leader.get()).map(|known| known.client_urls);
        let mut connection = None;
        for url in urls.unwrap_or_default() {
            let Ok(endpoint) = Endpoint::from_shared(url) else { continue };
            if let Ok(Ok(channel)) = timeout(DIAL_TIME_MAX, endpoint.connect()).await {
                connection = Some(channel);
                break;
            }
        }
        // Not announced yet, or not reached: nothing was asked, and the leader may be another soon.
        let Some(channel) = connection else { return Err(EtcdError::NoLeader.into()) };
        let left = deadline.saturating_duration_since(Instant::now());
        match timeout(left, self.run_there(channel, errand)).await {
            // What has a cause was made here: the connection broke, and nobody knows.
            Ok(Err(status)) if status.source().is_some() => {
                Err(EtcdError::TimeoutDueToConnectionLost.into())
            }
            Ok(answer) => answer,
            Err(_) => Err(EtcdError::Timeout.into()),
        }
    }

    async fn run_there(&self, leader: Channel, errand: Errand) -> Result<Done, Status> {
        let mut leader = MembershipClient::new(leader);
        match errand {
            Errand::Change(request) => {
                let answer = leader.change(self.marked(request)).await?;
                Ok(Done::Changed(answer.into_inner()))
            }
            Errand::Transfer(request) => {
                let answer = leader.transfer_leadership(self.marked(request)).await?;
                Ok(Done::Led(answer.into_inner().leader))
            }
        }
    }

    fn marked<T>(&self, request: T) -> Request<T> {
        let mut request = Request::new(request);
        let mark = format!("{:x}", self.id()).parse();
        request.metadata_mut().insert(FORWARDED, mark.expect("hexadecimal digits are a value"));
        request
    }

    /// Changes the membership as the leader.
    async fn change_here(
        &self,
        request: &own::ChangeRequest,
    ) -> Result<own::ChangeResponse, Status> {
        let membership = self.raft.membership().await;
        let (mut changes, mut added, mut told) = (Vec::new(), Vec::new(), Vec::new());
        for change in &request.changes {
            let kind = change.kind.as_ref();
            let kind = kind.ok_or_else(|| Status::invalid_argument("a change says nothing"))?;
            let change = self.read(kind, &membership).await?;
            match kind {
                Kind::Add(add) => {
                    added.push(change.node().get());
                    // What is known under this id is of an earlier life.
                    let is_known = self.announced.get(change.node().get()).is_some();
                    if is_known || add.peer_urls.len() > 1 {
                        self.announce_for(change.node(), &add.peer_urls).await?;
                    }
                }
                Kind::Move(moved) => told.push((change.node(), &moved.peer_urls)),
                Kind::Promote(_) | Kind::Demote(_) | Kind::Remove(_) | Kind::Readmit(_) => {}
            }
            changes.push(change);
        }
        if !request.availability_at_risk && self.is_quorum_cut_off(&changes, &membership) {
            return Err(EtcdError::Unhealthy.into());
        }
        let mut asked = ChangeRequest::new(changes);
        asked.availability_at_risk = request.availability_at_risk;
        let is_promotion = |change: &own::Change| matches!(change.kind, Some(Kind::Promote(_)));
        let is_promotion = request.changes.iter().any(is_promotion);
        let after = match self.raft.change_membership(asked).await {
            Ok(after) => after,
            // As etcd: the members are as they should be.
            Err(ChangeError::Refused(ChangeRefusal::Redundant)) => membership,
            Err(error) => return Err(change_refused(&error, is_promotion)),
        };
        for (node, urls) in told {
            self.announce_for(node, urls).await?;
        }
        Ok(own::ChangeResponse { membership: Some(self.shown(&after)), added })
    }

    /// Whether too few of the voters that would be left are connected with this one. The node asks
    /// the same of whom it heard lately; a connection that broke tells it sooner.
    fn is_quorum_cut_off(&self, changes: &[Change], membership: &Membership) -> bool {
        let leaves = |node: &NodeId| {
            changes.iter().any(|change| match change {
                Change::Remove { node: gone } | Change::Demote { node: gone } => gone == node,
                Change::AddLearner { .. }
                | Change::Promote { .. }
                | Change::Readmit { .. }
                | Change::UpdateAddress { .. } => false,
            })
        };
        let peers = self.raft.metrics().network().peers;
        let is_heard = |node: &NodeId| {
            *node == self.raft.id() || peers.get(node).is_some_and(|peer| peer.is_connected)
        };
        let voters = membership.voters();
        let (before, left) = (voters.len(), voters.iter().filter(|node| !leaves(node)));
        let left: Vec<&NodeId> = left.collect();
        let heard = left.iter().filter(|node| is_heard(node)).count();
        // Nobody left at all is another fault, which the node names.
        left.len() < before && !left.is_empty() && heard <= left.len() / 2
    }

    /// One part of a change, with what only this member can know.
    async fn read(&self, kind: &Kind, membership: &Membership) -> Result<Change, Status> {
        Ok(match kind {
            Kind::Add(add) => {
                let urls = peer_urls(&add.peer_urls)?;
                self.check_urls(&urls, membership, None)?;
                let id = MemberId::of(&urls, &self.config.initial_cluster_token).get();
                let promotion = match (add.promotion(), add.replaces) {
                    (_, old @ 1..) => Promotion::Replaces(node(old)?),
                    (own::Promotion::Automatic, 0) => Promotion::Automatic,
                    (own::Promotion::Manual, 0) => Promotion::Manual,
                };
                let address = urls[0].authority().into();
                Change::AddLearner { node: node(id)?, address, promotion }
            }
            Kind::Promote(id) => Change::Promote { node: node(*id)? },
            Kind::Demote(id) => Change::Demote { node: node(*id)? },
            Kind::Remove(id) => Change::Remove { node: node(*id)? },
            Kind::Readmit(readmit) => {
                let node = node(readmit.id)?;
                let incarnation = if readmit.incarnation.is_empty() {
                    self.ask_incarnation(node, membership).await?
                } else {
                    let number = u128::from_str_radix(&readmit.incarnation, 16);
                    Incarnation::new(number.map_err(|_| {
                        Status::invalid_argument("an incarnation is a hexadecimal number")
                    })?)
                };
                Change::Readmit { node, incarnation }
            }
            Kind::Move(moved) => {
                let (node, urls) = (node(moved.id)?, peer_urls(&moved.peer_urls)?);
                if !membership.members().contains_key(&node) {
                    return Err(EtcdError::MemberNotFound.into());
                }
                self.check_urls(&urls, membership, Some(node.get()))?;
                Change::UpdateAddress { node, address: urls[0].authority().into() }
            }
        })
    }

    /// No other member may have one of these URLs.
    fn check_urls(
        &self,
        urls: &[Url],
        membership: &Membership,
        owner: Option<u64>,
    ) -> Result<(), Status> {
        let members = self.shown(membership).members;
        let mut others = members.iter().filter(|other| Some(other.id) != owner);
        let texts: Vec<String> = urls.iter().map(Url::to_string).collect();
        let is_taken = others.any(|other| other.peer_urls.iter().any(|url| texts.contains(url)));
        if is_taken { Err(EtcdError::PeerUrlExist.into()) } else { Ok(()) }
    }

    /// Asks a member which disk it has now.
    async fn ask_incarnation(
        &self,
        node: NodeId,
        membership: &Membership,
    ) -> Result<Incarnation, Status> {
        let known = membership.members().get(&node).ok_or(EtcdError::MemberNotFound)?;
        let address = String::from_utf8_lossy(&known.address).into_owned();
        let answer = probe(&address, PROBE_TIME_MAX).await.map_err(|error| {
            Status::failed_precondition(format!(
                "raftd: member {node:x} at {address} does not say which disk it has: {error}; \
                 start it first, or name its incarnation",
                node = node.get()
            ))
        })?;
        if answer.peer.node != node || answer.cluster != self.raft_cluster {
            return Err(Status::failed_precondition(format!(
                "raftd: at {address} answers {answer}, not member {:x} of this cluster",
                node.get()
            )));
        }
        Ok(answer.peer.incarnation)
    }

    /// Tells the peer URLs of a member that has not started under them.
    async fn announce_for(&self, node: NodeId, urls: &[String]) -> Result<(), Status> {
        let is_member = self.raft.membership().await.members().contains_key(&node);
        let known = self.announced.get(node.get()).filter(|_| is_member).unwrap_or_default();
        let urls = peer_urls(urls)?.iter().map(Url::to_string).collect();
        let told = pb::Member { id: node.get(), peer_urls: urls, is_learner: false, ..known };
        match self.raft.propose(announcement(&told)).await {
            Ok(_) => Ok(()),
            Err(error) => Err(super::write_refused(&error)),
        }
    }

    /// Hands leadership over as the leader.
    ///
    /// # Errors
    ///
    /// In etcd's codes and words.
    pub async fn transfer_here(&self, target: u64) -> Result<u64, Status> {
        if self.raft.leader() != Some(self.raft.id()) {
            return Err(EtcdError::NotLeader.into());
        }
        let target = NodeId::new(target);
        if target == Some(self.raft.id()) {
            return Ok(self.id());
        }
        let leader = self.raft.transfer_leadership(target).await;
        let leader = leader.map_err(|error| transfer_refused(&error))?;
        self.metrics.transfers.inc();
        Ok(leader.get())
    }
}

fn node(id: u64) -> Result<NodeId, Status> {
    NodeId::new(id).ok_or_else(|| EtcdError::MemberNotFound.into())
}

/// Reads peer URLs; sorted, as ids are made of them.
fn peer_urls(texts: &[String]) -> Result<Vec<Url>, Status> {
    let urls: Result<Vec<Url>, String> = texts.iter().map(|text| Url::parse(text)).collect();
    let mut urls = urls.map_err(|_| EtcdError::MemberBadUrls)?;
    urls.sort();
    urls.dedup();
    if urls.is_empty() { Err(EtcdError::MemberBadUrls.into()) } else { Ok(urls) }
}

/// A change that did not come about, in etcd's words.
fn change_refused(error: &ChangeError, is_promotion: bool) -> Status {
    let refusal = match error {
        ChangeError::Refused(refusal) => refusal,
        ChangeError::Dropped => return EtcdError::TimeoutDueToLeaderFail.into(),
        ChangeError::Stopped { .. } => return EtcdError::Stopped.into(),
        ChangeError::TimedOut { .. } | _ => return EtcdError::Timeout.into(),
    };
    let known = match refusal {
        ChangeRefusal::NotLeader { .. } => EtcdError::NotLeader,
        ChangeRefusal::UnknownMember { .. } => EtcdError::MemberNotFound,
        ChangeRefusal::AlreadyMember { .. } => EtcdError::MemberExist,
        ChangeRefusal::AlreadySo { .. } if is_promotion => EtcdError::MemberNotLearner,
        ChangeRefusal::NotCaughtUp { .. } => EtcdError::LearnerNotReady,
        ChangeRefusal::QuorumLost { .. } => EtcdError::Unhealthy,
        ChangeRefusal::NoVoters => EtcdError::MemberNotEnoughStarted,
        ChangeRefusal::AddressTooLong { .. } => EtcdError::MemberBadUrls,
        ChangeRefusal::NotReady
        | ChangeRefusal::Transferring
        | ChangeRefusal::InProgress { .. } => EtcdError::Timeout,
        // Requests that etcd's clients cannot make.
        ChangeRefusal::AlreadySo { .. }
        | ChangeRefusal::NamedTwice { .. }
        | ChangeRefusal::Redundant
        | ChangeRefusal::Stale { .. }
        | _ => return Status::failed_precondition(format!("raftd: {refusal}")),
    };
    known.into()
}

/// A transfer that did not come about, in etcd's words.
fn transfer_refused(error: &TransferError) -> Status {
    let refusal = match error {
        TransferError::Refused(refusal) => refusal,
        TransferError::OtherLeader { .. } => return EtcdError::LeaderChanged.into(),
        TransferError::Stopped => return EtcdError::Stopped.into(),
        TransferError::NotTaken { .. } | TransferError::TimedOut { .. } | _ => {
            return Status::unknown("etcdserver: request timed out, leader transfer took too long");
        }
    };
    match refusal {
        TransferRefusal::NotLeader { .. } => EtcdError::NotLeader.into(),
        TransferRefusal::NotAVoter { .. } => EtcdError::BadLeaderTransferee.into(),
        TransferRefusal::NoSuccessor => EtcdError::Unhealthy.into(),
        TransferRefusal::AlreadyLeader | TransferRefusal::InProgress { .. } | _ => {
            Status::failed_precondition(format!("raftd: {refusal}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every refusal that etcd's clients can provoke comes in the words they compare.
    #[test]
    fn refusals_are_said_in_the_words_of_etcd() {
        let node = NodeId::new(7).unwrap();
        let said = |refusal, is_promotion| {
            EtcdError::from_status(&change_refused(&ChangeError::Refused(refusal), is_promotion))
        };
        for (refusal, expected) in [
            (ChangeRefusal::UnknownMember { node }, EtcdError::MemberNotFound),
            (ChangeRefusal::AlreadyMember { node }, EtcdError::MemberExist),
            (ChangeRefusal::AlreadySo { node }, EtcdError::MemberNotLearner),
            (ChangeRefusal::NotCaughtUp { node, behind: 5_000 }, EtcdError::LearnerNotReady),
            (ChangeRefusal::QuorumLost { in_contact: 1, needed: 2 }, EtcdError::Unhealthy),
            (ChangeRefusal::NoVoters, EtcdError::MemberNotEnoughStarted),
            (ChangeRefusal::NotReady, EtcdError::Timeout),
        ] {
            assert_eq!(said(refusal.clone(), true), Some(expected), "{refusal}");
        }
        assert_eq!(said(ChangeRefusal::AlreadySo { node }, false), None, "a demotion is ours");
        let transfer =
            |refusal| EtcdError::from_status(&transfer_refused(&TransferError::Refused(refusal)));
        let learner = TransferRefusal::NotAVoter { node };
        assert_eq!(transfer(learner), Some(EtcdError::BadLeaderTransferee));
        let late = transfer_refused(&TransferError::NotTaken { to: node });
        assert_eq!(late.message(), "etcdserver: request timed out, leader transfer took too long");
    }

    /// URLs are sorted, because ids are made of them, and nonsense is refused.
    #[test]
    fn peer_urls_are_read_as_flags_are() {
        let read = |texts: &[&str]| {
            let texts: Vec<String> = texts.iter().map(ToString::to_string).collect();
            let urls = peer_urls(&texts).map_err(|status| EtcdError::from_status(&status));
            urls.map(|urls| urls.iter().map(Url::to_string).collect::<Vec<_>>())
        };
        let both = ["http://a:1".to_owned(), "http://b:1".to_owned()];
        assert_eq!(read(&["http://b:1", "http://a:1", "http://b:1"]), Ok(both.to_vec()));
        for wrong in [&[][..], &["a:1"], &["https://a:1"], &["http://a:1/x"]] {
            assert_eq!(read(wrong), Err(Some(EtcdError::MemberBadUrls)), "{wrong:?}");
        }
    }
}
