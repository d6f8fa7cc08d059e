//! Which member of which cluster this is, before its node starts: told by the disk, by the flags,
//! or by the members of a running cluster.
//!
//! * A disk that has an identity keeps it. The flags only have to name the same member, and with
//!   `--initial-cluster-state=existing` not even that: a member's peer URL may have changed since
//!   its id was made.
//! * The id of a running cluster cannot be computed from an `--initial-cluster` that has changed
//!   since, so a member that joins asks those who are there.
//! * Only a member of a *new* cluster begins with a membership. Whoever joins waits to be added.
//!
//! Read next: `server.rs`, which starts the node.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use raft_runtime::{ClusterId, Identity, probe};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::clock;
use crate::config::{ClusterState, Config, Url};
use crate::identity::MemberId;
use crate::member::Member;
use crate::troubles;

/// A member's place: who it is, and how a disk without a log begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    /// This member.
    pub member: MemberId,
    /// The cluster it belongs to.
    pub cluster: ClusterId,
    /// Whether it makes the cluster together with the other members of `--initial-cluster`;
    /// otherwise it waits to be added.
    pub is_founder: bool,
}

impl Seat {
    /// The place that disk and flags give; `None` if the cluster has to be asked.
    ///
    /// A disk of another member gets the place of the flags, and the node will refuse to start on
    /// it.
    pub fn known(config: &Config, disk: Option<Identity>) -> Option<Self> {
        let (member, founded) = (config.member_id(), cluster(config));
        let is_new = config.initial_cluster_state == ClusterState::New;
        match disk {
            Some(disk) if !is_new || disk.peer.node.get() == member.get() => Some(Self {
                member: disk.peer.node.get().into(),
                cluster: disk.cluster,
                // A disk that was to join may not have heard of its membership yet. To begin with
                // that of the flags would be to vote with nobody's consent.
                is_founder: is_new && disk.cluster == founded,
            }),
            None if !is_new => None,
            Some(_) | None => Some(Self { member, cluster: founded, is_founder: true }),
        }
    }

    /// The place of a new member of a running cluster.
    ///
    /// # Errors
    ///
    /// [`JoinError`]; nothing was written.
    pub async fn learned(config: &Config) -> Result<Self, JoinError> {
        let cluster = learn_cluster(config).await?;
        Ok(Self { member: config.member_id(), cluster, is_founder: false })
    }

    /// The cluster as etcd's clients see it.
    pub fn cluster_id(&self) -> u64 {
        // Cluster ids of etcd have 64 bits; those of Raft have room for more.
        u64::try_from(self.cluster.get() & u128::from(u64::MAX)).unwrap_or_default()
    }
}

fn cluster(config: &Config) -> ClusterId {
    ClusterId::new(u128::from(config.cluster_id()))
}

/// Why a member could not find out which cluster it is to join.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JoinError {
    /// Nobody but this member is listed.
    Alone,
    /// None of the listed members answered.
    Unanswered {
        /// For how long they were asked.
        limit: Duration,
        /// What each said last.
        last: Vec<String>,
    },
    /// The listed members are of different clusters.
    Divided {
        /// Who is of which cluster.
        found: Vec<String>,
    },
    /// A member with this very id answers at the address of another.
    Taken {
        /// The id.
        member: MemberId,
        /// Where.
        address: String,
    },
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alone => f.write_str(
                "--initial-cluster-state=existing needs another member to ask, but \
                 --initial-cluster names this one only: add the members of the running cluster to \
                 --initial-cluster, or write --initial-cluster-state=new to make a cluster",
            ),
            Self::Unanswered { limit, last } => write!(
                f,
                "no member of --initial-cluster told within {} s to which cluster it belongs; \
                 start them or correct their URLs: {}",
                limit.as_secs(),
                last.join("; ")
            ),
            Self::Divided { found } => write!(
                f,
                "the members of --initial-cluster belong to different clusters: {}; name only \
                 members of the cluster to join",
                found.join(", ")
            ),
            Self::Taken { member, address } => write!(
                f,
                "at {address}, the URL of another member, answers member {member}, which is the id \
                 of this one: correct --initial-cluster"
            ),
        }
    }
}

impl std::error::Error for JoinError {}

/// Asks the other listed members, again and again for a bounded time.
async fn learn_cluster(config: &Config) -> Result<ClusterId, JoinError> {
    let addresses: Vec<(String, String)> = config
        .initial_cluster
        .iter()
        .filter(|(name, _)| **name != config.name)
        .flat_map(|(name, urls)| urls.iter().map(|url| (name.clone(), url.authority())))
        .collect();
    if addresses.is_empty() {
        return Err(JoinError::Alone);
    }
    let began = clock::now();
    let mut told: Option<std::time::Instant> = None;
    loop {
        let (found, last) = ask_all(&addresses).await;
        if let Some(cluster) = agreed(config.member_id(), &found)? {
            tracing::info!(
                cluster = %format_args!("{cluster}"),
                answers = found.len(),
                "found the cluster to join"
            );
            return Ok(cluster);
        }
        if began.elapsed() > LEARN_TIME_MAX {
            return Err(JoinError::Unanswered { limit: LEARN_TIME_MAX, last });
        }
        if told.is_none_or(|told| told.elapsed() > LEARN_TELL_INTERVAL) {
            told = Some(clock::now());
            tracing::info!(
                answers = last.join("; "),
                "asking the members of --initial-cluster which cluster to join"
            );
        }
        sleep(LEARN_INTERVAL).await;
    }
}

/// Who answered, by address, and what the others said.
async fn ask_all(addresses: &[(String, String)]) -> (BTreeMap<String, Identity>, Vec<String>) {
    let mut asked = JoinSet::new();
    for (name, address) in addresses.iter().cloned() {
        asked.spawn(async move {
            let answer = probe(&address, PROBE_TIME_MAX).await;
            (name, address, answer)
        });
    }
    let (mut found, mut last) = (BTreeMap::new(), Vec::new());
    while let Some(answered) = asked.join_next().await {
        match answered {
            Ok((_, address, Ok(identity))) => drop(found.insert(address, identity)),
            Ok((name, address, Err(error))) => last.push(format!("{name} at {address}: {error}")),
            // A question that panicked has said so in the log.
            Err(_) => {}
        }
    }
    last.sort();
    (found, last)
}

/// The one cluster of all who answered; `None` if nobody did.
fn agreed(
    own: MemberId,
    found: &BTreeMap<String, Identity>,
) -> Result<Option<ClusterId>, JoinError> {
    let is_own = |identity: &Identity| identity.peer.node.get() == own.get();
    if let Some((address, _)) = found.iter().find(|(_, identity)| is_own(identity)) {
        return Err(JoinError::Taken { member: own, address: address.clone() });
    }
    let mut clusters: Vec<ClusterId> = found.values().map(|identity| identity.cluster).collect();
    clusters.sort_unstable();
    clusters.dedup();
    match clusters[..] {
        [] => Ok(None),
        [cluster] => Ok(Some(cluster)),
        _ => Err(JoinError::Divided {
            found: found
                .iter()
                .map(|(address, identity)| format!("{address} to {}", identity.cluster))
                .collect(),
        }),
    }
}

/// Waits until this member belongs to the membership, and says from time to time what it waits for.
pub async fn wait_to_be_added(member: &Arc<Member>) {
    let me = member.raft.id();
    let mut status = member.raft.status();
    loop {
        let added = status.wait_for(|status| status.membership.members().contains_key(&me));
        tokio::select! {
            // An error means that the node stopped; there is nothing to wait for.
            _ = added => return,
            () = sleep(WAITING_TELL_DELAY) => {}
        }
        // Who is refused has another trouble, of which it hears elsewhere.
        if troubles::refusal(member).is_some() {
            continue;
        }
        let config = &member.config;
        let urls: Vec<String> =
            config.initial_advertise_peer_urls.iter().map(Url::to_string).collect();
        tracing::info!(
            member = %format_args!("{:x}", me.get()),
            command = format!("raftctl member add {} --peer-urls={}", config.name, urls.join(",")),
            "waiting to be added: run this command against the cluster, whose members have to have \
             the same --initial-cluster-token as this one"
        );
        let added = status.wait_for(|status| status.membership.members().contains_key(&me));
        if tokio::time::timeout(WAITING_TELL_INTERVAL, added).await.is_ok() {
            return;
        }
    }
}

/// Long enough to start the others by hand; then somebody has to look.
const LEARN_TIME_MAX: Duration = Duration::from_mins(2);

/// Between two rounds of questions.
const LEARN_INTERVAL: Duration = Duration::from_millis(250);

/// Between two lines about what is waited for.
const LEARN_TELL_INTERVAL: Duration = Duration::from_secs(5);

/// A member that is there answers in a round trip or two.
const PROBE_TIME_MAX: Duration = Duration::from_secs(2);

/// A member that was added before it started is told so by the leader within this time.
const WAITING_TELL_DELAY: Duration = Duration::from_secs(1);

/// Between two lines about being added: whoever looks finds one, and the log stays readable.
const WAITING_TELL_INTERVAL: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use raft_runtime::{Incarnation, NodeId, Peer};

    use super::*;

    fn config(state: &str, cluster: &str) -> Config {
        let arguments = [
            "--name=b".to_owned(),
            "--initial-advertise-peer-urls=http://b:1".to_owned(),
            format!("--initial-cluster={cluster}"),
            format!("--initial-cluster-state={state}"),
        ];
        Config::parse(&arguments, &[]).unwrap()
    }

    fn identity(node: u64, cluster: u128) -> Identity {
        let peer = Peer { node: NodeId::new(node).unwrap(), incarnation: Incarnation::new(1) };
        Identity { cluster: ClusterId::new(cluster), peer }
    }

    /// A blank disk founds or asks; a known one stays what it is, and begins with a membership only
    /// in the cluster that it founded.
    #[test]
    fn the_disk_counts_more_than_the_flags() {
        let two = "a=http://a:1,b=http://b:1";
        let new = config("new", two);
        let (member, founded) = (new.member_id(), cluster(&new));
        let first = Seat { member, cluster: founded, is_founder: true };
        assert_eq!(Seat::known(&new, None), Some(first));
        assert_eq!(Seat::known(&config("existing", two), None), None);

        let own = identity(member.get(), founded.get());
        assert_eq!(Seat::known(&new, Some(own)), Some(first));
        let grown = config("new", "a=http://a:1,b=http://b:1,c=http://c:1");
        let waits = Seat { is_founder: false, ..first };
        assert_eq!(Seat::known(&grown, Some(own)), Some(waits), "its flags have changed");
        assert_eq!(Seat::known(&config("existing", two), Some(own)), Some(waits));

        let other = identity(77, founded.get());
        assert_eq!(Seat::known(&new, Some(other)), Some(first), "the node will refuse the disk");
        let moved = Seat { member: 77.into(), ..waits };
        assert_eq!(Seat::known(&config("existing", two), Some(other)), Some(moved));
    }

    /// All who answer have to be of one cluster, and none of them may be this very member.
    #[test]
    fn one_cluster_is_joined_and_not_two() {
        let own = MemberId::from(3);
        let found = |answers: &[(u64, u128)]| {
            let found = answers
                .iter()
                .map(|(node, cluster)| (format!("h{node}:1"), identity(*node, *cluster)));
            agreed(own, &found.collect())
        };
        assert_eq!(found(&[]), Ok(None));
        assert_eq!(found(&[(1, 9), (2, 9)]), Ok(Some(ClusterId::new(9))));
        let text = found(&[(1, 9), (2, 10)]).unwrap_err().to_string();
        assert!(text.contains("h1:1 to 9, h2:1 to a"), "{text}");
        let text = found(&[(1, 9), (3, 9)]).unwrap_err().to_string();
        assert!(text.starts_with("at h3:1, the URL of another member, answers member 3"), "{text}");
    }
}
