//! Carries out commands, one after the other, and collects what they made happen.
//!
//! Read next: `notation.rs`.

use std::time::Duration;

use raft_core::{EntryId, HardState, Index, Log, NodeId, Persist, RaftNode, Restored, Time};
use raft_storage::Storage;

use super::cluster::Cluster;
use super::command::{Command, Lane, Link, Order, Which};
use super::notation;
use super::settings::Settings;

/// What a script plays on. Empty until `cluster`.
#[derive(Debug, Default)]
pub(super) struct Stage {
    cluster: Option<Cluster>,
}

/// Steps of one command before we say that it never ends.
const STEPS_MAX: usize = 10_000;

impl Stage {
    /// Carries out a command and returns the lines it made happen.
    pub(super) fn carry_out(&mut self, command: &Command) -> Result<Vec<String>, String> {
        if let Command::Cluster { settings } = command {
            self.cluster = Some(Cluster::new(Settings::parse(settings)?)?);
        } else {
            let cluster = self.cluster.as_mut().ok_or("`cluster nodes=…` comes first")?;
            cluster.carry_out(command)?;
        }
        Ok(self
            .cluster
            .as_mut()
            .map(|cluster| std::mem::take(&mut cluster.story))
            .unwrap_or_default())
    }
}

impl Cluster {
    fn carry_out(&mut self, command: &Command) -> Result<(), String> {
        match command {
            Command::Cluster { .. } => Err("a script has one cluster".into()),
            Command::Given { node, term, vote, log } => {
                let hard = HardState { term: *term, voted_for: *vote, commit: Index::ZERO };
                self.give(*node, hard, log.clone())?;
                self.tell_status(*node)
            }
            Command::Campaign(node) => self.campaign(*node),
            Command::Elect(node) => {
                self.campaign(*node)?;
                self.settle()?;
                self.story.clear();
                self.tell_status(*node)
            }
            Command::Propose { node, texts } => self.propose(*node, texts),
            Command::Read { node, consistency } => self.read(*node, *consistency),
            Command::Change { node, asked } => self.change(*node, asked),
            Command::Transfer { node, to } => self.transfer(*node, *to),
            Command::Snapshot(node) => self.snapshot(*node),
            Command::Deliver { link, which } => self.arrive(*link, *which),
            Command::Drop { link, which } => self.take_away(*link, *which),
            Command::Duplicate(link) => self.double(*link),
            Command::Hold(link) => said(self.held.insert(*link), "the link is held"),
            Command::Release(link) => said(self.held.remove(link), "the link is not held"),
            Command::Partition(sides) => self.part(sides),
            Command::Cut(link) => said(self.cut.insert(*link), "the link is cut"),
            Command::Heal => {
                self.cut.clear();
                Ok(())
            }
            Command::Persist(Some(node)) => {
                said(self.persist(*node)?, "this node has no write to finish")
            }
            Command::Persist(None) => self.persist_all(),
            Command::Lane { node, order } => self.order(*node, *order),
            Command::Wipe { node, joins } => {
                self.wipe(*node, *joins)?;
                self.tell_status(*node)
            }
            Command::Crash(node) => self.crash(*node),
            Command::Restart(node) => {
                self.start(*node)?;
                self.tell_status(*node)
            }
            Command::Tick(node) => self.tick(*node),
            Command::Elapse(span) => self.pass(*span, |_| Ok(())),
            Command::Run(span) => self.pass(*span, Self::settle),
            Command::Settle => self.settle(),
            Command::Unreachable { node, peer } => self.unreachable(*node, *peer),
            Command::Inject { from, term, to, words } => {
                let body = notation::body(words, &self.first_members())?;
                let message = self.made_by_hand((*from, *to), *term, body)?;
                self.receive(message)
            }
            Command::Status(Some(node)) => self.tell_status(*node),
            Command::Status(None) => self.tell_all(),
            Command::Log(node) => self.tell_log(*node),
            Command::Disk(node) => self.tell_disk(*node),
            Command::Members(node) => self.tell_members(*node),
            Command::Wire => {
                self.story.extend(self.wire.iter().map(notation::message));
                Ok(())
            }
            Command::Quietly(command) => {
                let before = self.story.len();
                self.carry_out(command)?;
                self.story.truncate(before);
                Ok(())
            }
        }
    }

    // The network.

    /// The places on the wire that are meant.
    fn pick(&self, link: Option<Link>, which: Which) -> Result<Vec<usize>, String> {
        let on = |at: &usize| {
            let message = &self.wire[*at];
            link.is_none_or(|link| link == (message.from.node, message.to))
        };
        let mut places: Vec<usize> = (0..self.wire.len()).filter(on).collect();
        let wanted = match which {
            Which::Oldest(count) => count,
            Which::Newest => {
                places = places.split_off(places.len().saturating_sub(1));
                1
            }
            Which::All => return Ok(places),
        };
        if places.len() < wanted || wanted == 0 {
            return Err(format!("{wanted} wanted, but {} are under way", places.len()));
        }
        places.truncate(wanted);
        Ok(places)
    }

    fn arrive(&mut self, link: Option<Link>, which: Which) -> Result<(), String> {
        for (gone, at) in self.pick(link, which)?.into_iter().enumerate() {
            // What arrived before left its place; answers only come behind.
            let at = at - gone;
            let arriving = notation::message(&self.wire[at]);
            self.story.push(format!("· {arriving} arrives"));
            self.deliver(at)?;
        }
        Ok(())
    }

    fn take_away(&mut self, link: Option<Link>, which: Which) -> Result<(), String> {
        for (gone, at) in self.pick(link, which)?.into_iter().enumerate() {
            let message = self.wire.remove(at - gone);
            self.lose(&message, "dropped");
        }
        Ok(())
    }

    fn double(&mut self, link: Link) -> Result<(), String> {
        let at = self.pick(Some(link), Which::Oldest(1))?[0];
        let message = self.wire[at].clone();
        self.story.push(format!("· {} is doubled", notation::message(&message)));
        self.wire.insert(at + 1, message);
        Ok(())
    }

    fn part(&mut self, sides: &[Vec<NodeId>]) -> Result<(), String> {
        for (i, side) in sides.iter().enumerate() {
            let others = sides.iter().enumerate().filter(|(j, _)| *j != i).flat_map(|(_, s)| s);
            self.cut.extend(others.flat_map(|to| side.iter().map(|from| (*from, *to))));
        }
        let all: usize = sides.iter().map(Vec::len).sum();
        said(all == self.seats.len(), "every node is on one side")
    }

    // The lanes.

    fn persist_all(&mut self) -> Result<(), String> {
        let nodes: Vec<NodeId> = self.seats.keys().copied().collect();
        for node in nodes {
            if self.seats[&node].raft.is_some() {
                self.persist(node)?;
            }
        }
        Ok(())
    }

    fn order(&mut self, node: NodeId, order: Order) -> Result<(), String> {
        match order {
            Order::Hold(lane) => self.hold(node, lane, true),
            Order::Release(lane) => self.hold(node, lane, false),
            Order::Applied => said(self.work(node)?, "nothing waits to be applied"),
            Order::Captured { works } => self.captured(node, works),
            Order::Fetched { works } => self.fetched(node, works),
        }
    }

    fn hold(&mut self, node: NodeId, lane: Lane, is_held: bool) -> Result<(), String> {
        let seat = self.seats.get_mut(&node).ok_or_else(|| format!("there is no {node}"))?;
        let was = if is_held { !seat.held.insert(lane) } else { !seat.held.remove(&lane) };
        if was {
            return Err("that is so already".into());
        }
        if lane == Lane::Apply && !is_held {
            while self.work(node)? {}
        }
        Ok(())
    }

    // Time.

    /// Delivers, writes and applies until nothing is left that is not held back.
    fn settle(&mut self) -> Result<(), String> {
        for _ in 0..STEPS_MAX {
            let writes = self.seats.iter().find(|(_, seat)| {
                !seat.held.contains(&Lane::Disk) && !seat.writing.is_empty() && seat.raft.is_some()
            });
            if let Some(node) = writes.map(|(node, _)| *node) {
                self.persist(node)?;
                continue;
            }
            let fetches = self
                .seats
                .iter()
                .find(|(_, seat)| !seat.held.contains(&Lane::Fetch) && seat.fetching.is_some());
            if let Some(node) = fetches.map(|(node, _)| *node) {
                self.fetched(node, true)?;
                continue;
            }
            let free = |message: &raft_core::Message| {
                !self.held.contains(&(message.from.node, message.to))
            };
            match self.wire.iter().position(free) {
                Some(at) => self.deliver(at)?,
                None => return Ok(()),
            }
        }
        Err(format!("it does not settle within {STEPS_MAX} steps"))
    }

    fn deadline(&self, node: NodeId) -> Option<Time> {
        Some(self.seats.get(&node)?.raft.as_ref()?.deadline().at)
    }

    fn tick(&mut self, node: NodeId) -> Result<(), String> {
        let at = self.deadline(node).ok_or_else(|| format!("{node} is down"))?;
        self.now = self.now.max(at);
        self.wake(node)
    }

    fn pass(
        &mut self,
        span: Duration,
        after_each: impl Fn(&mut Self) -> Result<(), String>,
    ) -> Result<(), String> {
        let end = self.now.after(span);
        for _ in 0..STEPS_MAX {
            let due = self.seats.keys().filter_map(|node| Some((self.deadline(*node)?, *node)));
            let Some((at, node)) = due.min().filter(|(at, _)| *at <= end) else {
                self.now = end;
                return Ok(());
            };
            self.now = self.now.max(at);
            self.wake(node)?;
            after_each(self)?;
        }
        Err(format!("more than {STEPS_MAX} deadlines in {span:?}"))
    }

    // What is.

    fn tell_all(&mut self) -> Result<(), String> {
        let nodes: Vec<NodeId> = self.seats.keys().copied().collect();
        nodes.into_iter().try_for_each(|node| self.tell_status(node))
    }

    fn raft(&self, node: NodeId) -> Result<Option<&RaftNode>, String> {
        let seat = self.seats.get(&node).ok_or_else(|| format!("there is no {node}"))?;
        Ok(seat.raft.as_ref())
    }

    fn tell_status(&mut self, node: NodeId) -> Result<(), String> {
        let line = self.raft(node)?.map_or_else(
            || format!("{node} is down"),
            |raft| notation::status(&raft.status()) + &begins(raft.state().log()),
        );
        self.story.push(line);
        Ok(())
    }

    /// The log after its base, with a bar after what is committed.
    fn tell_log(&mut self, node: NodeId) -> Result<(), String> {
        let raft = self.raft(node)?.ok_or_else(|| format!("{node} is down"))?;
        let (log, commit) = (raft.state().log(), raft.state().commit_index());
        let id = |index: u64| {
            let index = Index::new(index);
            log.term_at(index).map(|term| EntryId::new(term, index))
        };
        let first = log.base().index.next().get();
        let committed = notation::list((first..=commit.get()).filter_map(id));
        let open = notation::list((commit.get() + 1..=log.last().index.get()).filter_map(id));
        let line = format!("{node} log{} [{committed} | {open}]", begins(log));
        self.story.push(line.replace("[ ", "[").replace(" ]", "]"));
        Ok(())
    }

    /// What a restart would find, and how many writes are not finished.
    fn tell_disk(&mut self, node: NodeId) -> Result<(), String> {
        let seat = self.seats.get_mut(&node).ok_or_else(|| format!("there is no {node}"))?;
        let restored = seat.storage.restore(super::cluster::GROUP);
        let Restored { hard_state, tail, base, .. } =
            restored.map_err(|error| error.to_string())?;
        let vote = hard_state.voted_for.map_or_else(|| "nobody".into(), |vote| vote.to_string());
        let log = notation::list(tail.iter().map(|entry| entry.id));
        let open = seat.writing.iter().filter(|persist| !Persist::is_empty(persist)).count();
        let writing = if open == 0 { String::new() } else { format!(" writing={open}") };
        let after = if base == EntryId::ZERO { String::new() } else { format!(" after={base}") };
        let term = hard_state.term;
        self.story.push(format!("{node} disk term={term} vote={vote}{after} [{log}]{writing}"));
        Ok(())
    }

    /// Whom this node believes to belong to the group.
    fn tell_members(&mut self, node: NodeId) -> Result<(), String> {
        let raft = self.raft(node)?.ok_or_else(|| format!("{node} is down"))?;
        let membership = raft.state().membership();
        let open = membership.id().index > raft.state().commit_index();
        let open = if open { ", not committed" } else { "" };
        self.story.push(format!("{node} members {}{open}", notation::membership(membership)));
        Ok(())
    }
}

/// Where a log begins, and what the newest snapshot covers, if it does not begin with the group.
fn begins(log: &Log) -> String {
    log.snapshot().map_or_else(String::new, |snapshot| {
        format!(" after={} snapshot={}", log.base(), snapshot.last_included)
    })
}

fn said(is_so: bool, otherwise: &str) -> Result<(), String> {
    if is_so { Ok(()) } else { Err(otherwise.into()) }
}
