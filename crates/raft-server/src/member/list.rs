//! Who the members are: the membership has ids, votes and addresses, the members themselves told
//! their names and URLs.
//!
//! Read next: `changes.rs`.

use raft_api::etcdserverpb as pb;
use raft_api::membership as own;
use raft_runtime::{Membership, NodeId, Promotion};

use super::Member;
use crate::config::Url;
use crate::machine::Announced;

impl Member {
    /// The members as etcd's clients see them. A learner that will be a voter is a learner.
    pub async fn members(&self) -> Vec<pb::Member> {
        let membership = self.raft.membership().await;
        states(&membership, &self.announced).into_iter().map(etcd).collect()
    }

    /// The membership with all that etcd's clients do not know of.
    pub async fn show(&self) -> own::ShowResponse {
        let membership = self.raft.membership().await;
        self.shown(&membership)
    }

    pub(super) fn shown(&self, membership: &Membership) -> own::ShowResponse {
        own::ShowResponse {
            cluster_id: self.cluster_id,
            member_id: self.id(),
            leader: self.leader(),
            term: self.raft.term().get(),
            index: membership.id().index.get(),
            is_joint: membership.is_joint(),
            members: states(membership, &self.announced),
        }
    }

    /// The URLs under which this member is known to peers: those that were announced, then those of
    /// its flags, as long as they are where the membership has it.
    pub(super) fn own_peer_urls(&self, membership: &Membership) -> Vec<String> {
        let flags: Vec<String> =
            self.config.initial_advertise_peer_urls.iter().map(Url::to_string).collect();
        let Some(member) = membership.members().get(&self.raft.id()) else { return flags };
        let announced = self.announced.get(self.id()).map(|known| known.peer_urls);
        let address = String::from_utf8_lossy(&member.address).into_owned();
        let mut known = announced.into_iter().chain([flags]);
        known.find(|urls| is_at(urls, &address)).unwrap_or_else(|| vec![url(&address)])
    }

    /// Whether this member was removed from the cluster, as far as it knows.
    pub fn is_removed(&self) -> bool {
        let membership = self.raft.metrics().status().membership;
        !membership.is_empty() && !membership.members().contains_key(&self.raft.id())
    }
}

/// Every member with all that is known of it.
fn states(membership: &Membership, announced: &Announced) -> Vec<own::MemberState> {
    let state = |node: &NodeId| {
        let id = node.get();
        let member = &membership.members()[node];
        let known = announced.get(id).unwrap_or_default();
        let address = String::from_utf8_lossy(&member.address).into_owned();
        let is_known = address.is_empty() || is_at(&known.peer_urls, &address);
        let (promotion, replaces) = plan(membership.promotion(*node));
        own::MemberState {
            id,
            name: known.name,
            peer_urls: if is_known { known.peer_urls } else { vec![url(&address)] },
            client_urls: known.client_urls,
            is_voter: membership.voters().contains(node),
            is_outgoing: membership.outgoing().contains(node)
                && !membership.voters().contains(node),
            promotion: promotion.into(),
            replaces,
            incarnation: member.incarnation.map(|it| it.to_string()).unwrap_or_default(),
        }
    };
    membership.members().keys().map(state).collect()
}

fn plan(promotion: Promotion) -> (own::Promotion, u64) {
    match promotion {
        Promotion::Manual => (own::Promotion::Manual, 0),
        Promotion::Automatic => (own::Promotion::Automatic, 0),
        Promotion::Replaces(old) => (own::Promotion::Automatic, old.get()),
    }
}

/// A member in the words of etcd.
pub(crate) fn etcd(state: own::MemberState) -> pb::Member {
    pb::Member {
        id: state.id,
        name: state.name,
        peer_urls: state.peer_urls,
        client_urls: state.client_urls,
        is_learner: !state.is_voter && !state.is_outgoing,
    }
}

/// Whether one of these URLs leads to the address of a membership.
fn is_at(urls: &[String], address: &str) -> bool {
    urls.iter().any(|known| *known == url(address))
}

fn url(address: &str) -> String {
    format!("http://{address}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn node(id: u64) -> NodeId {
        NodeId::new(id).unwrap()
    }

    fn membership() -> Membership {
        let member = |address: &'static str| raft_runtime::Member {
            address: address.into(),
            incarnation: None,
        };
        let members = BTreeMap::from([(node(1), member("a:1")), (node(2), member("b:1"))]);
        Membership::bootstrap(members)
    }

    /// A member that told nothing has no name and the one URL of the membership; one that told all
    /// its URLs shows them, unless it has moved since.
    #[test]
    fn names_and_urls_are_what_was_told_and_still_true() {
        let announced = Announced::default();
        let members = membership();
        let shown = |announced: &Announced| states(&members, announced);
        let silent = &shown(&announced)[0];
        assert_eq!((silent.name.as_str(), &silent.peer_urls[..]), ("", &["http://a:1".into()][..]));
        let told = pb::Member {
            id: 1,
            name: "n1".to_owned(),
            peer_urls: vec!["http://a:1".to_owned(), "http://c:1".to_owned()],
            client_urls: vec!["http://a:2".to_owned()],
            is_learner: false,
        };
        announced.insert(told.clone());
        assert_eq!(shown(&announced)[0].peer_urls, told.peer_urls);
        announced.insert(pb::Member { peer_urls: vec!["http://old:1".to_owned()], ..told });
        assert_eq!(shown(&announced)[0].peer_urls, ["http://a:1"], "it has moved");
        assert!(shown(&announced).iter().all(|state| state.is_voter));
    }
}
