//! The course of the demo: start, write, kill, wait for service, start again, read back, judge.
//!
//! Every wait looks at the members meanwhile: one that ends without having been killed ends the
//! demo with its last words. Read next: `client.rs`, `judge.rs`.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;

use super::client::{Client, Run};
use super::display::{Display, Progress};
use super::grow::{self, Changed};
use super::history::Write;
use super::judge::judge;
use super::observe::Observer;
use super::report::Report;
use super::{DemoError, DemoOptions};
use crate::clock;
use crate::cluster::{Cluster, Layout, MemberSpec, Process, Program, Wanted, is_port_free};

/// Runs everything and judges it.
pub(super) async fn drive(
    options: &DemoOptions,
    dir: &Path,
    program: Program,
) -> Result<Report, DemoError> {
    // Ports below the range that the system gives to outgoing connections: between the kill of a
    // member and its return nobody else gets its port. Demos at the same time start apart.
    let search_from = 10_000 + u16::try_from(std::process::id() % 90).unwrap_or(0) * 200;
    let wanted = Wanted { nodes: Some(options.nodes), base_port: None, search_from };
    let mut layout = Layout::open(dir, wanted, &is_port_free)?;
    if layout.is_known {
        return Err(DemoError::NotEmpty(dir.to_owned()));
    }
    if options.grow {
        layout.founders = grow::FOUNDERS;
    }
    let founders: Vec<usize> = (0..layout.founders).collect();
    let urls: Vec<String> = layout.members.iter().map(MemberSpec::client_url).collect();
    let names: Vec<String> = layout.members.iter().map(|member| member.name.clone()).collect();
    let mut display = Display::new(names.clone());
    display.event(&format!("starting {} members in {}", founders.len(), dir.display()));
    let mut cluster = Cluster::new(layout, program, None);
    founders.iter().try_for_each(|index| cluster.start(*index))?;
    cluster.wait_ready(READY_LIMIT, |text| display.event(text)).await?;

    let run = Run::new(options.nodes);
    let observer = Observer::new(names, &urls);
    let looking = Aborting(tokio::spawn(observer.clone().look_around()));
    let mut clients = JoinSet::new();
    for id in 0..options.clients {
        clients.spawn(Client::new(id, Arc::clone(&run), &urls).work());
    }
    let (failovers, visitors) = (Vec::new(), options.clients);
    let (changes, gone, dismissed) = (Vec::new(), BTreeSet::new(), Vec::new());
    let mut driver = Driver {
        options,
        cluster,
        run,
        observer,
        display,
        failovers,
        changes,
        gone,
        dismissed,
        clients,
        visitors,
        urls,
    };
    if options.grow {
        driver.grow_and_write().await?;
    } else {
        driver.kill_and_write().await?;
    }
    driver.run.end();
    let took = driver.run.elapsed();
    drop(looking);
    let mut history: Vec<Write> = Vec::new();
    while let Some(writes) = driver.clients.join_next().await {
        history.extend(writes.map_err(|_| DemoError::ClientLost)?);
    }
    // Each client's own order is the order it was told things in.
    history.sort_by_key(|write| write.answered);
    let mut members = Vec::new();
    for index in driver.present().collect::<Vec<_>>() {
        driver.display.event(&format!("reading everything back from n{}", index + 1));
        members.push(driver.observer.read_all(index).await?);
    }
    driver.farewell().await?;
    driver.cluster.stop(STOP_LIMIT).await;
    let verdict = judge(&history, &members);
    let events = (driver.failovers, driver.changes);
    Ok(Report::new(options, &history, &members, verdict, took, events))
}

/// What the course of the demo needs at hand.
pub(super) struct Driver<'a> {
    pub(super) options: &'a DemoOptions,
    pub(super) cluster: Cluster,
    run: Arc<Run>,
    pub(super) observer: Observer,
    pub(super) display: Display,
    /// Time without service after each kill.
    failovers: Vec<Duration>,
    /// Changes of the membership so far.
    pub(super) changes: Vec<Changed>,
    /// Members that are not to come back.
    pub(super) gone: BTreeSet<usize>,
    /// Those of them that were removed and have to end by themselves.
    pub(super) dismissed: Vec<usize>,
    /// All that write; each gives its history in the end.
    clients: JoinSet<Vec<Write>>,
    /// The id of the next client that visits.
    visitors: u32,
    pub(super) urls: Vec<String>,
}

impl Driver<'_> {
    /// Lets clients write, and kills the leader at even distances.
    async fn kill_and_write(&mut self) -> Result<(), DemoError> {
        let kills = u64::from(self.options.kills);
        for kill in 0..kills {
            self.written(self.options.writes * (kill + 1) / (kills + 1)).await?;
            self.kill_leader().await?;
        }
        self.written(self.options.writes).await
    }

    /// Waits until so many writes are acknowledged.
    pub(super) async fn written(&mut self, goal: u64) -> Result<(), DemoError> {
        let (mut last, mut since) = (self.run.acked(), clock::now());
        while self.run.acked() < goal {
            if self.run.acked() > last {
                (last, since) = (self.run.acked(), clock::now());
            } else if since.elapsed() > SERVICE_LIMIT {
                let since = "although no member was killed meanwhile".to_owned();
                return Err(DemoError::NoService { since, limit: SERVICE_LIMIT });
            }
            self.pause(None).await?;
        }
        Ok(())
    }

    /// Kills the leader, measures until service is back, and starts the member again.
    async fn kill_leader(&mut self) -> Result<(), DemoError> {
        let index = self.observer.leader().await?;
        let name = self.cluster.layout().members[index].name.clone();
        let killed = clock::now();
        self.cluster.kill(index).await?;
        // From here on nothing can be answered by the dead; earlier writes do not count as service.
        let mut service = self.run.next_service();
        self.display.event(&format!("killed {name}, the leader"));
        let is_needed = self.options.nodes < 3;
        let mut visited = clock::now();
        if is_needed {
            self.cluster.start(index)?;
        }
        let back = loop {
            match service.try_recv() {
                Ok(back) => break back,
                Err(oneshot::error::TryRecvError::Empty) => {}
                Err(oneshot::error::TryRecvError::Closed) => return Err(DemoError::ClientLost),
            }
            if killed.elapsed() > SERVICE_LIMIT {
                let since = format!("after the kill of {name}");
                return Err(DemoError::NoService { since, limit: SERVICE_LIMIT });
            }
            if visited.elapsed() > VISIT_INTERVAL {
                visited = clock::now();
                self.visit();
            }
            self.pause((!is_needed).then_some(index)).await?;
        };
        let without = back.saturating_duration_since(killed);
        self.failovers.push(without);
        self.display.event(&format!("writes go on after {} ms", without.as_millis()));
        self.cluster.start(index)?;
        self.cluster.wait_ready(READY_LIMIT, |text| self.display.event(text)).await?;
        Ok(())
    }

    /// Lets a new client write. The others may all wait for answers to what they sent before the
    /// kill; without visitors their patience would be measured, not the cluster.
    fn visit(&mut self) {
        let client = Client::new(self.visitors, Arc::clone(&self.run), &self.urls);
        self.visitors += 1;
        self.clients.spawn(client.visit());
    }

    /// Waits a little, shows how things are, and looks for members that died by themselves.
    pub(super) async fn pause(&mut self, killed: Option<usize>) -> Result<(), DemoError> {
        sleep(PAUSE).await;
        self.display.show(&Progress {
            acked: self.run.acked(),
            goal: self.options.writes,
            acked_by: self.run.acked_by(),
            elapsed: self.run.elapsed(),
            events: (self.failovers.len() + self.changes.len(), self.options.events()),
            noun: if self.options.grow { "changes" } else { "kills" },
            views: self.observer.views(),
        });
        for index in 0..self.options.nodes {
            let is_dead = self.cluster.process(index).is_some_and(|p| !Process::is_running(p));
            if is_dead && killed != Some(index) && !self.gone.contains(&index) {
                return Err(self.cluster.death(index).into());
            }
        }
        Ok(())
    }
}

/// A task that ends with the demo.
struct Aborting(JoinHandle<()>);

impl Drop for Aborting {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A member that was killed replays its log before it is ready.
pub(super) const READY_LIMIT: Duration = Duration::from_mins(1);

/// Many elections long: a cluster that needs longer does not come back.
pub(super) const SERVICE_LIMIT: Duration = Duration::from_secs(30);

/// How long members may take to stop in the end.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// How often things are looked at; what is measured does not depend on it.
const PAUSE: Duration = Duration::from_millis(20);

/// The grain of the time without service.
const VISIT_INTERVAL: Duration = Duration::from_millis(40);
