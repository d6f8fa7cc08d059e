//! The report of a failing run: everything a person needs to understand it, told as text.
//!
//! * A report holds no opinion: it repeats what the oracle said and shows what happened before.
//! * The story is told in the notation of golden scripts, so that it can become one.
//!
//! Read next: `html.rs`, which draws the same report as a picture.

use core::fmt;
use std::collections::{BTreeMap, BTreeSet};

use raft_core::{NodeId, RoleName, Term};

use crate::trace::{ProcessState, Trace, TraceEvent, What};

#[cfg(test)]
mod tests;

/// A failing run, shrunk: what broke, how to see it again, and what happened before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The number from which every choice of the run came.
    pub seed: u64,
    /// The command that replays it.
    pub command: String,
    /// The known bug that was compiled in, if any.
    pub mutant: Option<String>,
    /// The short name of the oracle that fired: `durable quorum`.
    pub oracle: String,
    /// One sentence: what was expected, what was seen.
    pub statement: String,
    /// When it fired: virtual time, in nanoseconds since the world began.
    pub at: u64,
    /// The number of the event after which it fired.
    pub step: u64,
    /// The swarm configuration: name and value.
    pub world: Vec<(String, String)>,
    /// The choices left by shrinking that were not the mildest: `network.delay #12 = 4000`.
    pub choices: Vec<String>,
    /// How many there were before shrinking.
    pub choices_before: usize,
    /// What happened.
    pub trace: Trace,
    /// The durable image of each node, for people.
    pub disks: Vec<(NodeId, String)>,
    /// The operations of clients that matter here.
    pub history: Vec<String>,
    /// The rows of known bugs with the same signature.
    pub known_bugs: Vec<String>,
}

/// Choices told on a terminal.
const CHOICES_TOLD: usize = 60;

impl Report {
    /// What stands in the place of an oracle when all of them are content.
    pub(crate) const PASSED: &'static str = "no failure";

    /// Whether it tells of a failure.
    pub fn has_failed(&self) -> bool {
        self.oracle != Self::PASSED
    }

    /// ✗ for a failure, ✓ for a run that passed.
    pub(crate) fn mark(&self) -> char {
        if self.has_failed() { '✗' } else { '✓' }
    }

    /// Tells the report with at most this many of the last events.
    ///
    /// [`Display`](fmt::Display) tells 40. Heartbeats that changed nothing are counted and left
    /// out.
    pub fn story(&self, events_max: usize) -> String {
        Told { report: self, events_max }.to_string()
    }

    fn tell(&self, out: &mut fmt::Formatter<'_>, events_max: usize) -> fmt::Result {
        let Self { seed, oracle, step, .. } = self;
        let mark = self.mark();
        writeln!(out, "{mark} {oracle} · seed {seed} · event {step} at {}", Clock(self.at))?;
        if let Some(mutant) = &self.mutant {
            writeln!(out, "  with the known bug: {mutant}")?;
        }
        writeln!(out, "  {}", indented(&self.statement, "  "))?;
        writeln!(out, "\nreplay\n  {}", self.command)?;
        if !self.world.is_empty() {
            writeln!(out, "\nworld")?;
            let width = self.world.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
            for (name, value) in &self.world {
                writeln!(out, "  {name:width$}  {value}")?;
            }
        }
        let title = format!("\nchoices, {} of {}", self.choices.len(), self.choices_before);
        list(out, &title, &self.choices[..self.choices.len().min(CHOICES_TOLD)])?;
        if let Some(more) = self.choices.len().checked_sub(CHOICES_TOLD).filter(|more| *more > 0) {
            writeln!(out, "  … and {more} more")?;
        }
        self.tell_events(out, events_max)?;
        if !self.disks.is_empty() {
            writeln!(out, "\ndisks")?;
        }
        for (node, image) in &self.disks {
            writeln!(out, "  {node}  {}", indented(image, "      "))?;
        }
        list(out, "\noperations", &self.history)?;
        list(out, "\nknown bugs with this signature", &self.known_bugs)
    }

    fn tell_events(&self, out: &mut fmt::Formatter<'_>, events_max: usize) -> fmt::Result {
        let idle = idle_heartbeats(&self.trace);
        let mut story = Story::default();
        let mut lines = Vec::new();
        for event in &self.trace.events {
            let line = story.line(&event.what);
            if !packet(&event.what).is_some_and(|packet| idle.contains(&packet)) {
                lines.push((event, line));
            }
        }
        let (told, all) = (lines.len().min(events_max), lines.len());
        let folded = match idle.len() {
            0 => String::new(),
            count => format!(", without {count} heartbeats that changed nothing"),
        };
        writeln!(out, "\nlast {told} of {all} events{folded}")?;
        let mut before: Option<&TraceEvent> = None;
        for (event, line) in lines.iter().skip(all - told) {
            let is_new =
                before.is_none_or(|before| (before.at, before.step) != (event.at, event.step));
            let (clock, step) = if is_new {
                (Clock(event.at).to_string(), format!("#{}", event.step))
            } else {
                (String::new(), String::new())
            };
            let line = indented(line, &" ".repeat(26));
            writeln!(out, "  {clock:>14} {step:<7}  {line}")?;
            before = Some(event);
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tell(f, EVENTS)
    }
}

/// A report as text with so many events.
struct Told<'a> {
    report: &'a Report,
    events_max: usize,
}

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.report.tell(f, self.events_max)
    }
}

fn list(out: &mut fmt::Formatter<'_>, title: &str, lines: &[String]) -> fmt::Result {
    if lines.is_empty() {
        return Ok(());
    }
    writeln!(out, "{title}")?;
    lines.iter().try_for_each(|line| writeln!(out, "  {}", indented(line, "  ")))
}

fn indented(text: &str, by: &str) -> String {
    text.trim_end().lines().collect::<Vec<_>>().join(&format!("\n{by}"))
}

/// Virtual time for people: `12.345 678 s`.
#[derive(Clone, Copy)]
pub(crate) struct Clock(pub(crate) u64);

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0 / 1_000;
        let (seconds, below) = (micros / 1_000_000, micros % 1_000_000);
        write!(f, "{seconds}.{:03} {:03} s", below / 1_000, below % 1_000)
    }
}

/// What a reader of a trace knows about a node so far.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Its term, as far as it was told.
    pub(crate) term: Term,
    /// Its role.
    pub(crate) role: RoleName,
    /// Whom it follows.
    pub(crate) leader: Option<NodeId>,
    /// What its process does.
    pub(crate) process: ProcessState,
}

impl Seen {
    /// A node that nothing was told of: it begins as a follower (§5.2).
    const NEW: Self = Self {
        term: Term::ZERO,
        role: RoleName::Follower,
        leader: None,
        process: ProcessState::Up,
    };

    /// A node in the notation of scripts: `n1@4 follower(n5)`.
    pub(crate) fn full(self, node: NodeId) -> String {
        match self.leader {
            Some(leader) if leader != node => {
                format!("{node}@{} {}({leader})", self.term, self.role)
            }
            Some(_) | None => format!("{node}@{} {}", self.term, self.role),
        }
    }
}

/// What a reader of a trace knows about all nodes so far.
#[derive(Default)]
pub(crate) struct Cast(BTreeMap<NodeId, Seen>);

impl Cast {
    /// What is known about a node.
    pub(crate) fn of(&self, node: NodeId) -> Seen {
        self.0.get(&node).copied().unwrap_or(Seen::NEW)
    }

    /// Reads on.
    pub(crate) fn see(&mut self, what: &What) {
        match *what {
            What::Role { node, term, role, leader } => {
                let seen = Seen { term, role, leader, ..self.of(node) };
                self.0.insert(node, seen);
            }
            What::Process { node, state, .. } => {
                let mut seen = Seen { process: state, ..self.of(node) };
                // Role and leader are not on the disk: they end with the process.
                if state == ProcessState::Down {
                    seen = Seen { role: RoleName::Follower, leader: None, ..seen };
                }
                self.0.insert(node, seen);
            }
            What::Sent { .. }
            | What::Arrived { .. }
            | What::Vanished { .. }
            | What::Committed { .. }
            | What::Applied { .. }
            | What::Wrote { .. }
            | What::Fault { .. }
            | What::Client { .. }
            | What::Part { .. }
            | What::Failure { .. } => {}
        }
    }
}

/// Turns events into lines of a golden script, one by one.
#[derive(Default)]
struct Story<'a> {
    cast: Cast,
    packets: BTreeMap<u64, &'a str>,
}

impl<'a> Story<'a> {
    fn line(&mut self, what: &'a What) -> String {
        let me = |node: &NodeId| format!("{node}@{}", self.cast.of(*node).term);
        let line = match what {
            What::Sent { packet, text, .. } => {
                self.packets.insert(*packet, text);
                text.clone()
            }
            What::Arrived { packet, .. } => format!("· {} arrives", self.message(*packet)),
            What::Vanished { packet, why } => format!("✗ {}: {why}", self.message(*packet)),
            What::Role { node, .. } => {
                let before = self.cast.of(*node).full(*node);
                self.cast.see(what);
                format!("{before} ⇨ {}", self.cast.of(*node).full(*node))
            }
            What::Committed { node, upto } => format!("{} commits {upto}", me(node)),
            What::Applied { node, upto } => format!("{} applies {upto}", me(node)),
            What::Wrote { node, text } => format!("{} ⇒ disk {text}", me(node)),
            What::Process { node, state, text } => {
                let gap = if text.is_empty() { "" } else { ": " };
                format!("! {node} {}{gap}{text}", process(*state))
            }
            What::Fault { text, .. } => format!("! {text}"),
            What::Client { node, text } => format!("client at {node}: {text}"),
            What::Part { text } => format!("── {text} ──"),
            What::Failure { node: Some(node), text } => format!("✗✗ {}: {text}", me(node)),
            What::Failure { node: None, text } => format!("✗✗ {text}"),
        };
        self.cast.see(what);
        line
    }

    fn message(&self, packet: u64) -> String {
        self.packets
            .get(&packet)
            .map_or_else(|| format!("message {packet}"), |text| (*text).to_owned())
    }
}

/// A state of a process, as the end of a sentence that begins with a node.
pub(crate) const fn process(state: ProcessState) -> &'static str {
    match state {
        ProcessState::Recovering => "recovers",
        ProcessState::Up => "is up",
        ProcessState::Paused => "is paused",
        ProcessState::Down => "is down",
    }
}

/// The heartbeats, and answers to them, whose arrival changed nothing: no role, no commit index.
pub(crate) fn idle_heartbeats(trace: &Trace) -> BTreeSet<u64> {
    let is_change = |what: &What| {
        matches!(what, What::Role { .. } | What::Committed { .. } | What::Failure { .. })
    };
    let changes = trace.events.iter().filter(|event| is_change(&event.what));
    let changes: BTreeSet<u64> = changes.map(|event| event.step).collect();
    let mut idle = BTreeSet::new();
    for TraceEvent { step, what, .. } in &trace.events {
        if let What::Sent { packet, is_heartbeat: true, .. } = what {
            idle.insert(*packet);
        }
        if let What::Arrived { packet, .. } = what
            && changes.contains(step)
        {
            idle.remove(packet);
        }
    }
    idle
}

/// The message an event is about.
pub(crate) const fn packet(what: &What) -> Option<u64> {
    match what {
        What::Sent { packet, .. }
        | What::Arrived { packet, .. }
        | What::Vanished { packet, .. } => Some(*packet),
        What::Role { .. }
        | What::Committed { .. }
        | What::Applied { .. }
        | What::Wrote { .. }
        | What::Process { .. }
        | What::Fault { .. }
        | What::Client { .. }
        | What::Part { .. }
        | What::Failure { .. } => None,
    }
}

/// The last events a terminal shows: a screen full.
const EVENTS: usize = 40;
