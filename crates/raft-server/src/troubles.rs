//! A member that its cluster does not want: says why and what to do, and finds out whether it was
//! removed.
//!
//! A member that was removed while it was down hears nothing any more, because nobody replicates to
//! it. So it asks the others, at the URLs they announced, whether it still is a member.

use std::sync::Arc;
use std::time::{Duration, Instant};

use raft_api::etcdserverpb::MemberListRequest;
use raft_api::etcdserverpb::cluster_client::ClusterClient;
use raft_api::tonic::transport::Endpoint;
use raft_runtime::RefusalCode;
use tokio::time::{sleep, timeout};

use crate::clock;
use crate::member::Member;

/// Waits until the others say that this member was removed, and meanwhile says what is wrong when
/// something is.
pub async fn removed(member: Arc<Member>) {
    let patience = LEADERLESS_MIN.max(3 * member.config.election_timeout);
    let (mut without_since, mut told) = (None, None);
    loop {
        sleep(LOOK_INTERVAL).await;
        let is_due = told.is_none_or(|told| is_long_ago(told, TELL_INTERVAL));
        if is_due && let Some(refusal) = refusal(&member) {
            told = Some(clock::now());
            tell(&member, &refusal);
        }
        if member.raft.leader().is_some() {
            without_since = None;
            continue;
        }
        let since = *without_since.get_or_insert_with(clock::now);
        if !is_long_ago(since, patience) {
            continue;
        }
        if is_due && let Some(refusal) = refused_for(&member, RefusalCode::Cluster) {
            told = Some(clock::now());
            tell_other_cluster(&refusal);
        }
        if others_say_removed(&member).await {
            return;
        }
    }
}

fn is_long_ago(moment: Instant, limit: Duration) -> bool {
    moment.elapsed() > limit
}

/// What a peer holds against the disk of this member, as the peer says it.
///
/// A leader is no sign that all is well: its messages arrive, and no answer reaches it.
pub fn refusal(member: &Member) -> Option<String> {
    refused_for(member, RefusalCode::Incarnation)
}

fn refused_for(member: &Member, code: RefusalCode) -> Option<String> {
    let peers = member.raft.metrics().network().peers;
    peers.into_values().filter(|peer| !peer.is_connected).find_map(|peer| {
        let last = peer.refused_by?.last;
        (last.code == code).then_some(last.sentence)
    })
}

/// Says what is wrong, with the remedy.
fn tell(member: &Member, refusal: &str) {
    let id = member.id();
    tracing::error!(
        refusal,
        remedy = format!(
            "raftctl member readmit {id:x}, or raftctl member remove {id:x} and raftctl member \
             add, then start with --initial-cluster-state=existing"
        ),
        "peers refuse this member, because its data directory is not the one it had and what it \
         promised is lost: readmit it, or remove it and add it again"
    );
}

/// Says how a member comes into the cluster that its peers belong to.
fn tell_other_cluster(refusal: &str) {
    tracing::error!(
        refusal,
        remedy = "empty the data directory and start with --initial-cluster-state=existing",
        "peers belong to another cluster than this member: to join theirs, it has to begin with an \
         empty data directory and --initial-cluster-state=existing"
    );
}

/// Whether a quorum, asked through any other member, does not list this member any more.
async fn others_say_removed(member: &Member) -> bool {
    let membership = member.raft.metrics().status().membership;
    // Who waits to be added is not listed either.
    if !membership.members().contains_key(&member.raft.id()) {
        return false;
    }
    let others = membership.members().keys().filter(|node| **node != member.raft.id());
    for other in others {
        let urls = member.announced.get(other.get()).map(|known| known.client_urls);
        for url in urls.unwrap_or_default() {
            if timeout(ASK_TIME_MAX, is_unlisted(member, url)).await.unwrap_or(false) {
                return true;
            }
        }
    }
    false
}

async fn is_unlisted(member: &Member, url: String) -> bool {
    let Ok(endpoint) = Endpoint::from_shared(url) else { return false };
    let Ok(channel) = endpoint.connect().await else { return false };
    let request = MemberListRequest { linearizable: true };
    let Ok(answer) = ClusterClient::new(channel).member_list(request).await else { return false };
    let answer = answer.into_inner();
    let is_ours = answer.header.is_some_and(|header| header.cluster_id == member.cluster_id);
    is_ours && answer.members.iter().all(|listed| listed.id != member.id())
}

const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Elections need a while; nothing is wrong before.
const LEADERLESS_MIN: Duration = Duration::from_secs(2);

/// Between two lines about the same trouble.
const TELL_INTERVAL: Duration = Duration::from_mins(1);

/// A cluster with a leader answers at once.
const ASK_TIME_MAX: Duration = Duration::from_secs(2);
