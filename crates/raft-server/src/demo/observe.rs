//! Looks at the members of the demo: who leads, how far they are, and, at the end, all they hold.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use raft_api::etcdserverpb::kv_client::KvClient;
use raft_api::etcdserverpb::maintenance_client::MaintenanceClient;
use raft_api::etcdserverpb::{RangeRequest, StatusRequest, StatusResponse};
use raft_api::tonic::transport::Channel;
use tokio::time::{sleep, timeout};

use super::DemoError;
use super::client::{PREFIX, PREFIX_END, connect};
use super::history::{Holdings, Stored};
use crate::clock;

/// What a member says about itself; `None` while it does not answer.
pub(super) type View = Option<Standing>;

/// A member as it sees itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    /// Whether it leads.
    pub(super) is_leader: bool,
    /// Its current term.
    pub(super) term: u64,
    /// Its commit index.
    pub(super) commit_index: u64,
}

impl From<&StatusResponse> for Standing {
    fn from(status: &StatusResponse) -> Self {
        let own = status.header.as_ref().map_or(0, |header| header.member_id);
        Self {
            is_leader: own != 0 && status.leader == own,
            term: status.raft_term,
            commit_index: status.raft_index,
        }
    }
}

/// Asks members how they are.
#[derive(Clone, Debug)]
pub(super) struct Observer {
    names: Vec<String>,
    channels: Vec<Channel>,
    views: Arc<Mutex<Vec<View>>>,
}

impl Observer {
    /// Knows where members are; connects when it asks.
    pub(super) fn new(names: Vec<String>, urls: &[String]) -> Self {
        let channels = urls.iter().map(|url| connect(url)).collect();
        let views = Arc::new(Mutex::new(vec![None; names.len()]));
        Self { names, channels, views }
    }

    /// What was seen last of each member.
    pub(super) fn views(&self) -> Vec<View> {
        self.views.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks again and again, for as long as it is not dropped.
    pub(super) async fn look_around(self) {
        loop {
            for index in 0..self.channels.len() {
                let view = self.ask(index).await;
                self.views.lock().unwrap_or_else(PoisonError::into_inner)[index] = view;
            }
            sleep(LOOK_INTERVAL).await;
        }
    }

    async fn ask(&self, index: usize) -> View {
        let mut client = MaintenanceClient::new(self.channels[index].clone());
        let answer = timeout(STATUS_LIMIT, client.status(StatusRequest {})).await;
        Some(Standing::from(&answer.ok()?.ok()?.into_inner()))
    }

    /// The member that leads in the highest term.
    pub(super) async fn leader(&self) -> Result<usize, DemoError> {
        let started = clock::now();
        loop {
            let mut best: Option<(u64, usize)> = None;
            for index in 0..self.channels.len() {
                let standing = self.ask(index).await.filter(|standing| standing.is_leader);
                best = best.max(standing.map(|standing| (standing.term, index)));
            }
            if let Some((_, index)) = best {
                return Ok(index);
            }
            if started.elapsed() > LEADER_LIMIT {
                return Err(DemoError::NoLeader(LEADER_LIMIT));
            }
            sleep(RETRY_INTERVAL).await;
        }
    }

    /// Everything a member holds, by linearizable reads at one revision.
    pub(super) async fn read_all(&self, index: usize) -> Result<Holdings, DemoError> {
        let started = clock::now();
        let mut holdings = Holdings { member: self.names[index].clone(), keys: Vec::new() };
        let mut client = KvClient::new(self.channels[index].clone());
        let mut from = PREFIX.as_bytes().to_vec();
        let mut revision = 0;
        loop {
            let request = RangeRequest {
                key: from.clone().into(),
                range_end: PREFIX_END.into(),
                limit: PAGE_KEYS,
                revision,
                ..RangeRequest::default()
            };
            let last_answer = match timeout(PAGE_LIMIT, client.range(request)).await {
                Ok(Ok(page)) => {
                    let page = page.into_inner();
                    if revision == 0 {
                        revision = page.header.as_ref().map_or(0, |header| header.revision);
                    }
                    let Some(last) = page.kvs.last() else { return Ok(holdings) };
                    from = last.key.to_vec();
                    from.push(0);
                    holdings.keys.extend(page.kvs.iter().map(|kv| Stored {
                        key: String::from_utf8_lossy(&kv.key).into_owned(),
                        value: String::from_utf8_lossy(&kv.value).into_owned(),
                        mod_revision: kv.mod_revision,
                        version: kv.version,
                    }));
                    if !page.more {
                        return Ok(holdings);
                    }
                    continue;
                }
                Ok(Err(status)) => status.message().to_owned(),
                Err(_) => format!("no answer within {} s", PAGE_LIMIT.as_secs()),
            };
            if started.elapsed() > READ_LIMIT {
                return Err(DemoError::NotRead { name: holdings.member, last_answer });
            }
            sleep(RETRY_INTERVAL).await;
        }
    }
}

/// Often enough for eyes.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// A status is answered from memory.
const STATUS_LIMIT: Duration = Duration::from_millis(300);

/// Between two tries.
const RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// Several elections long.
const LEADER_LIMIT: Duration = Duration::from_secs(30);

/// Keys per page: well below the message size that clients accept.
const PAGE_KEYS: i64 = 2000;

/// One page, reading through a quorum.
const PAGE_LIMIT: Duration = Duration::from_secs(10);

/// All of one member while it keeps failing.
const READ_LIMIT: Duration = Duration::from_mins(1);
