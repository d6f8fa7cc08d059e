//! `raftd demo --grow`: the membership changes under load, and nothing of that may be noticed.
//!
//! Three members become five, one of them is killed for good and replaced, and the five become
//! three again, the leader of the moment leaving among them. Members are added and removed as an
//! operator would do it, by calls to any member. Read next: `driver.rs`.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use raft_api::EtcdError;
use raft_api::membership::change::Kind;
use raft_api::membership::membership_client::MembershipClient;
use raft_api::membership::{Add, Change, ChangeRequest, Promotion, ShowRequest, ShowResponse};
use tokio::time::timeout;

use super::DemoError;
use super::client::connect;
use super::driver::{Driver, READY_LIMIT, SERVICE_LIMIT};
use crate::clock;
use crate::cluster::Process;
use crate::server::REMOVED_STATUS;

/// Members at the beginning and at the end.
pub(super) const FOUNDERS: usize = 3;

/// Places for members: three that begin, two that come, one that replaces.
pub(super) const PLACES: usize = 6;

/// Changes of the membership.
pub(super) const CHANGES: u32 = 5;

/// One change of the membership, as the report tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Changed {
    /// What was done.
    pub(super) what: String,
    /// How long it took until the membership was as wanted.
    pub(super) took: Duration,
}

impl fmt::Display for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} ms)", self.what, self.took.as_millis())
    }
}

impl Driver<'_> {
    /// Lets clients write, and changes the membership at even distances.
    pub(super) async fn grow_and_write(&mut self) -> Result<(), DemoError> {
        let steps = u64::from(CHANGES) + 1;
        let goal = |step: u64| self.options.writes * step / steps;
        let goals: Vec<u64> = (1..=steps).map(goal).collect();
        self.written(goals[0]).await?;
        self.join(FOUNDERS).await?;
        self.written(goals[1]).await?;
        self.join(FOUNDERS + 1).await?;
        self.written(goals[2]).await?;
        self.lose_and_replace().await?;
        self.written(goals[3]).await?;
        let leader = self.observer.leader().await?;
        self.dismiss(leader, ", the leader,").await?;
        self.written(goals[4]).await?;
        let leader = self.observer.leader().await?;
        let other = self.present().find(|index| *index != leader);
        self.dismiss(other.unwrap_or(leader), "").await?;
        self.written(goals[5]).await
    }

    /// Those that were started and not given up.
    pub(super) fn present(&self) -> impl Iterator<Item = usize> {
        let started = |index: &usize| self.cluster.process(*index).is_some();
        (0..self.urls.len()).filter(started).filter(|index| !self.gone.contains(index))
    }

    /// A member joins and becomes a voter.
    async fn join(&mut self, index: usize) -> Result<(), DemoError> {
        let name = self.name(index);
        self.display.event(&format!("adding {name}"));
        let began = clock::now();
        self.change(self.add(index, 0)).await?;
        self.cluster.start(index)?;
        self.wait_voters(&[index], &[]).await?;
        self.note(format!("{name} was added and votes"), began.elapsed());
        Ok(())
    }

    /// A follower is killed and never comes back; another takes its place in one step.
    async fn lose_and_replace(&mut self) -> Result<(), DemoError> {
        let leader = self.observer.leader().await?;
        let Some(old) = self.present().find(|index| *index != leader) else { return Ok(()) };
        let (new, old_name) = (PLACES - 1, self.name(old));
        self.gone.insert(old);
        self.cluster.kill(old).await?;
        self.display.event(&format!("killed {old_name} for good; {} replaces it", self.name(new)));
        let began = clock::now();
        let replaces = self.cluster.layout().member_ids()[old].get();
        self.change(self.add(new, replaces)).await?;
        self.cluster.start(new)?;
        self.wait_voters(&[new], &[old]).await?;
        self.note(format!("{} replaced {old_name}", self.name(new)), began.elapsed());
        Ok(())
    }

    /// A member is removed; its process will notice.
    async fn dismiss(&mut self, index: usize, whom: &str) -> Result<(), DemoError> {
        let name = self.name(index);
        self.display.event(&format!("removing {name}{whom}"));
        let began = clock::now();
        self.gone.insert(index);
        self.dismissed.push(index);
        let id = self.cluster.layout().member_ids()[index].get();
        self.change(Kind::Remove(id)).await?;
        self.wait_voters(&[], &[index]).await?;
        self.note(format!("{name} was removed"), began.elapsed());
        Ok(())
    }

    /// Every member that was removed ends by itself, with the status that says so.
    pub(super) async fn farewell(&mut self) -> Result<(), DemoError> {
        let began = clock::now();
        for index in self.dismissed.clone() {
            while self.exit(index).is_none() {
                if began.elapsed() > READY_LIMIT {
                    let name = self.name(index);
                    let last_answer = format!("{name} was removed and its process goes on");
                    return Err(DemoError::NotChanged { last_answer });
                }
                self.pause(None).await?;
            }
            if self.exit(index) != Some(format!("exit status {REMOVED_STATUS}")) {
                return Err(self.cluster.death(index).into());
            }
        }
        Ok(())
    }

    /// How a member ended, if it did.
    fn exit(&self, index: usize) -> Option<String> {
        self.cluster.process(index).and_then(Process::exit)
    }

    fn name(&self, index: usize) -> String {
        self.cluster.layout().members[index].name.clone()
    }

    fn note(&mut self, what: String, took: Duration) {
        self.display.event(&format!("{what} after {} ms", took.as_millis()));
        self.changes.push(Changed { what, took });
    }

    fn add(&self, index: usize, replaces: u64) -> Kind {
        let peer_urls = vec![self.cluster.layout().members[index].peer_url()];
        Kind::Add(Add { peer_urls, promotion: Promotion::Automatic.into(), replaces })
    }

    /// Changes the membership through whichever member answers.
    async fn change(&mut self, kind: Kind) -> Result<(), DemoError> {
        let began = clock::now();
        let changes = vec![Change { kind: Some(kind) }];
        let request = ChangeRequest { changes, availability_at_risk: false };
        let mut last_answer = String::new();
        while began.elapsed() < SERVICE_LIMIT {
            let asked: Vec<usize> = self.present().collect();
            for index in asked {
                let mut client = MembershipClient::new(connect(&self.urls[index]));
                last_answer = match timeout(CALL_LIMIT, client.change(request.clone())).await {
                    Ok(Ok(_)) => return Ok(()),
                    Ok(Err(status)) => match EtcdError::from_status(&status) {
                        // An earlier attempt without an answer came about.
                        Some(
                            EtcdError::MemberExist
                            | EtcdError::PeerUrlExist
                            | EtcdError::MemberNotFound,
                        ) => return Ok(()),
                        Some(_) | None => status.message().to_owned(),
                    },
                    Err(_) => format!("no answer within {} s", CALL_LIMIT.as_secs()),
                };
            }
            self.pause(None).await?;
        }
        Err(DemoError::NotChanged { last_answer })
    }

    /// Waits until some members vote and others are gone.
    async fn wait_voters(&mut self, in_: &[usize], out: &[usize]) -> Result<(), DemoError> {
        let ids = self.cluster.layout().member_ids();
        let began = clock::now();
        let mut last_answer = String::new();
        while began.elapsed() < READY_LIMIT {
            if let Some(shown) = self.show().await {
                let voters: BTreeSet<u64> =
                    shown.members.iter().filter(|it| it.is_voter).map(|it| it.id).collect();
                let is_gone = |index: &usize| {
                    shown.members.iter().all(|member| member.id != ids[*index].get())
                };
                let is_in = |index: &usize| voters.contains(&ids[*index].get());
                if in_.iter().all(is_in) && out.iter().all(is_gone) && !shown.is_joint {
                    return Ok(());
                }
                last_answer = format!("{} members, {} voters", shown.members.len(), voters.len());
            }
            self.pause(None).await?;
        }
        Err(DemoError::NotChanged { last_answer })
    }

    async fn show(&self) -> Option<ShowResponse> {
        for index in self.present() {
            let mut client = MembershipClient::new(connect(&self.urls[index]));
            if let Ok(Ok(shown)) = timeout(CALL_LIMIT, client.show(ShowRequest {})).await {
                return Some(shown.into_inner());
            }
        }
        None
    }
}

/// Longer than a change waits for the one before it.
const CALL_LIMIT: Duration = Duration::from_secs(10);
