//! From a trace to rows: which event gets which row, and what is drawn there.
//!
//! * Rows are in the order of events, and no two texts share one: nothing overlaps, however close
//!   in time events are.
//! * Three kinds of events share a row, for they belong together: the messages of one broadcast,
//!   their losses, and a commit with the apply that follows from it.
//!
//! Read next: `draw.rs`, which turns rows into shapes.

use std::collections::{BTreeMap, BTreeSet};

use raft_core::{NodeId, RoleName, Term};

use super::label::{self, Kind};
use crate::report::{Cast, Seen, packet, process};
use crate::trace::{ProcessState, Trace, TraceEvent, What};

/// Where everything goes. Rows count from zero; lanes too, in the order of nodes.
#[derive(Default)]
pub(super) struct Layout {
    /// The nodes, one lane each.
    pub(super) lanes: Vec<NodeId>,
    /// How many rows there are.
    pub(super) rows: i32,
    /// When a row is, where that is another time than in the row before.
    pub(super) stamps: Vec<Stamp>,
    /// The messages.
    pub(super) arrows: Vec<Arrow>,
    /// The short texts of messages.
    pub(super) labels: Vec<Label>,
    /// What happened at one node.
    pub(super) notes: Vec<Note>,
    /// What happened to the world.
    pub(super) strips: Vec<Strip>,
    /// What nodes were, from row to row.
    pub(super) spans: Vec<Span>,
}

/// A time at the left margin.
pub(super) struct Stamp {
    /// Where.
    pub(super) row: i32,
    /// Virtual time.
    pub(super) at: u64,
    /// The number of the event.
    pub(super) step: u64,
    /// Whether the time is another one than at the stamp before, not only the event.
    pub(super) is_later: bool,
    /// Whether so much time passed that a reader should notice.
    pub(super) is_leap: bool,
}

/// A row and its time.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    /// Where.
    pub(super) row: i32,
    /// Virtual time.
    pub(super) at: u64,
}

/// A message.
pub(super) struct Arrow {
    /// Its number.
    pub(super) packet: u64,
    /// The lane of its sender.
    pub(super) from: i32,
    /// The lane of its receiver; `None` if there is no such node.
    pub(super) to: Option<i32>,
    /// When it was sent.
    pub(super) sent: Moment,
    /// What became of it.
    pub(super) end: End,
    /// What it is for.
    pub(super) kind: Kind,
    /// All of it.
    pub(super) text: String,
}

/// What became of a message.
#[derive(Clone, Copy)]
pub(super) enum End {
    /// It was still on its way when the trace ended.
    Open,
    /// It arrived.
    Arrived(Moment),
    /// It never arrives, and why.
    Vanished(Moment, &'static str),
}

/// The short text of the messages that begin in a row.
pub(super) struct Label {
    /// Where.
    pub(super) row: i32,
    /// At which lane.
    pub(super) lane: i32,
    /// Whether any of the messages goes to the right; the text stands on that side.
    pub(super) is_right: bool,
    /// What they are for.
    pub(super) kind: Kind,
    /// The text.
    pub(super) text: String,
}

/// Something at one node.
pub(super) struct Note {
    /// Where.
    pub(super) row: i32,
    /// At which lane.
    pub(super) lane: i32,
    /// What sort.
    pub(super) sort: Sort,
    /// The short text.
    pub(super) text: String,
    /// All of it.
    pub(super) full: String,
}

/// Sorts of notes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    /// A new role or term.
    Role(RoleName),
    /// A commit, perhaps with an apply.
    Commit,
    /// An apply.
    Apply,
    /// A durable write.
    Write,
    /// A process began, ended, stopped or went on.
    Process(ProcessState),
    /// A client's call or its answer.
    Client,
    /// A message arrived that nobody saw leave.
    Stray,
}

/// Something that concerns more than one node, over the whole width.
pub(super) struct Strip {
    /// The first of its rows.
    pub(super) row: i32,
    /// How many rows it has.
    pub(super) rows: i32,
    /// What sort.
    pub(super) sort: StripSort,
    /// The lanes concerned.
    pub(super) lanes: Vec<i32>,
    /// The text, in one line or several.
    pub(super) lines: Vec<String>,
}

/// Sorts of strips.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum StripSort {
    /// A fault.
    Fault,
    /// A new part of the run.
    Part,
    /// What must not happen.
    Failure,
}

/// What a node was from one row to another.
pub(super) struct Span {
    /// At which lane.
    pub(super) lane: i32,
    /// The row where it became so.
    pub(super) from: i32,
    /// The row where it ceased to be so.
    pub(super) to: i32,
    /// Its term.
    pub(super) term: Term,
    /// Its role.
    pub(super) role: RoleName,
    /// What its process did.
    pub(super) process: ProcessState,
}

impl Layout {
    /// Lays out a trace without the messages named; a failure's text is broken after `chars_max`.
    pub(super) fn new(trace: &Trace, without: &BTreeSet<u64>, chars_max: usize) -> Self {
        let mut planner = Planner::new(trace, chars_max);
        for event in &trace.events {
            if !packet(&event.what).is_some_and(|packet| without.contains(&packet)) {
                planner.event(event);
            }
        }
        planner.end()
    }
}

/// The nodes of a trace, ascending: those it names and those that only events name.
pub(super) fn nodes(trace: &Trace) -> Vec<NodeId> {
    let mut nodes: BTreeSet<NodeId> = trace.nodes.iter().copied().collect();
    for event in &trace.events {
        match &event.what {
            What::Sent { from: node, .. }
            | What::Role { node, .. }
            | What::Committed { node, .. }
            | What::Applied { node, .. }
            | What::Wrote { node, .. }
            | What::Process { node, .. }
            | What::Client { node, .. } => {
                nodes.insert(*node);
            }
            // Receivers and bystanders may be nobody: a message to such a node leads nowhere.
            What::Arrived { .. }
            | What::Vanished { .. }
            | What::Fault { .. }
            | What::Part { .. }
            | What::Failure { .. } => {}
        }
    }
    nodes.into_iter().collect()
}

/// A row that takes more messages of the same step.
struct Shared {
    step: u64,
    row: i32,
    lanes: Vec<Option<i32>>,
}

/// What a note says.
struct Words {
    sort: Sort,
    text: String,
    full: String,
}

struct Planner {
    layout: Layout,
    chars_max: usize,
    cast: Cast,
    /// Where each lane's last change was, and to what.
    since: Vec<(i32, Seen)>,
    /// The messages on their way: where their arrows are.
    open: BTreeMap<u64, usize>,
    /// The row where a broadcast begins; its label is the last one.
    fan: Option<Shared>,
    /// The row where messages of this step end.
    losses: Option<Shared>,
    /// Event and time of the last row.
    stamped: Option<(u64, u64)>,
}

impl Planner {
    fn new(trace: &Trace, chars_max: usize) -> Self {
        let (lanes, cast) = (nodes(trace), Cast::default());
        let since = lanes.iter().map(|node| (0, cast.of(*node))).collect();
        let layout = Layout { lanes, ..Layout::default() };
        let (fan, losses, stamped) = (None, None, None);
        Self { layout, chars_max, cast, since, open: BTreeMap::new(), fan, losses, stamped }
    }

    fn event(&mut self, event: &TraceEvent) {
        match &event.what {
            What::Sent { .. } => return self.sent(event),
            What::Vanished { packet, why } => return self.vanished(event, *packet, why),
            What::Arrived { packet, to } => self.arrived(event, *packet, *to),
            What::Role { node, .. } => {
                let before = self.cast.of(*node).full(*node);
                self.cast.see(&event.what);
                let seen = self.cast.of(*node);
                let now = seen.full(*node);
                let full = format!("{before} ⇨ {now}");
                self.note(event, *node, Words { sort: Sort::Role(seen.role), text: now, full });
            }
            What::Committed { node, upto } => {
                let full = format!("{node} commits {upto}");
                self.note(
                    event,
                    *node,
                    Words { sort: Sort::Commit, text: format!("✓ {upto}"), full },
                );
            }
            What::Applied { node, upto } => self.applied(event, *node, upto.get()),
            What::Wrote { node, text } => {
                let full = format!("{node}@{} ⇒ disk {text}", self.cast.of(*node).term);
                self.note(
                    event,
                    *node,
                    Words { sort: Sort::Write, text: format!("⇒ disk {text}"), full },
                );
            }
            What::Process { node, state, text } => {
                self.cast.see(&event.what);
                let gap = if text.is_empty() { "" } else { ": " };
                let full = format!("{node} {}{gap}{text}", process(*state));
                self.note(
                    event,
                    *node,
                    Words { sort: Sort::Process(*state), text: full.clone(), full },
                );
            }
            What::Client { node, text } => {
                let full = format!("client at {node}: {text}");
                self.note(event, *node, Words { sort: Sort::Client, text: text.clone(), full });
            }
            What::Fault { nodes, text } => {
                self.strip(event, StripSort::Fault, nodes, vec![text.clone()]);
            }
            What::Part { text } => self.strip(event, StripSort::Part, &[], vec![text.clone()]),
            What::Failure { node, text } => {
                let lines = label::wrap(text, self.chars_max);
                self.strip(event, StripSort::Failure, node.as_slice(), lines);
            }
        }
        (self.fan, self.losses) = (None, None);
    }

    fn lane(&self, node: NodeId) -> Option<i32> {
        let lane = self.layout.lanes.binary_search(&node).ok()?;
        i32::try_from(lane).ok()
    }

    /// Opens a row, and writes the time at its margin if it advanced.
    fn row(&mut self, event: &TraceEvent) -> Moment {
        let row = self.layout.rows;
        self.layout.rows += 1;
        let (at, step) = (event.at, event.step);
        let before = self.stamped.replace((step, at));
        let is_later = before.is_none_or(|(_, time)| time / MICRO != at / MICRO);
        let is_leap = before.is_some_and(|(_, time)| at.saturating_sub(time) >= LEAP);
        if is_later || before.is_some_and(|(number, _)| number != step) {
            self.layout.stamps.push(Stamp { row, at, step, is_later, is_leap });
        }
        Moment { row, at }
    }

    fn sent(&mut self, event: &TraceEvent) {
        let What::Sent { packet, from, to, text, is_heartbeat } = &event.what else { return };
        let Some(lane) = self.lane(*from) else { return };
        let (to, kind, short) = (self.lane(*to), Kind::of(text, *is_heartbeat), label::short(text));
        let is_right = to.is_none_or(|to| to >= lane);
        let label = self.layout.labels.last_mut();
        let shared = self.fan.as_mut().zip(label).filter(|(fan, label)| {
            let is_same = label.lane == lane && label.text == short && label.kind == kind;
            is_same && fan.step == event.step && !fan.lanes.contains(&to)
        });
        let sent = if let Some((fan, label)) = shared {
            fan.lanes.push(to);
            label.is_right |= is_right;
            Moment { row: fan.row, at: event.at }
        } else {
            let sent = self.row(event);
            self.fan = Some(Shared { step: event.step, row: sent.row, lanes: vec![to] });
            self.layout.labels.push(Label { row: sent.row, lane, is_right, kind, text: short });
            sent
        };
        self.open.insert(*packet, self.layout.arrows.len());
        let (packet, end, text) = (*packet, End::Open, text.clone());
        self.layout.arrows.push(Arrow { packet, from: lane, to, sent, end, kind, text });
    }

    fn vanished(&mut self, event: &TraceEvent, packet: u64, why: &'static str) {
        // What nobody saw leave leaves no gap.
        let Some(index) = self.open.remove(&packet) else { return };
        let (to, row) = (self.layout.arrows[index].to, self.layout.arrows[index].sent.row);
        let shared = self.losses.as_mut().filter(|losses| {
            losses.step == event.step && losses.row > row && !losses.lanes.contains(&to)
        });
        let moment = if let Some(losses) = shared {
            losses.lanes.push(to);
            Moment { row: losses.row, at: event.at }
        } else {
            let moment = self.row(event);
            self.losses = Some(Shared { step: event.step, row: moment.row, lanes: vec![to] });
            moment
        };
        self.layout.arrows[index].end = End::Vanished(moment, why);
    }

    fn arrived(&mut self, event: &TraceEvent, packet: u64, to: NodeId) {
        if let Some(index) = self.open.remove(&packet) {
            let moment = self.row(event);
            self.layout.arrows[index].to = self.lane(to);
            self.layout.arrows[index].end = End::Arrived(moment);
        } else {
            let text = format!("· message {packet} arrives");
            self.note(event, to, Words { sort: Sort::Stray, text: text.clone(), full: text });
        }
    }

    fn applied(&mut self, event: &TraceEvent, node: NodeId, upto: u64) {
        let full = format!("{node} applies {upto}");
        let row = self.layout.rows - 1;
        let is_same_step = self.stamped.is_some_and(|(step, _)| step == event.step);
        let lane = self.lane(node);
        match self.layout.notes.last_mut() {
            Some(last)
                if is_same_step
                    && last.row == row
                    && Some(last.lane) == lane
                    && last.sort == Sort::Commit =>
            {
                last.text = format!("{}, applied", last.text);
                last.full = format!("{}, {full}", last.full);
            }
            Some(_) | None => {
                self.note(
                    event,
                    node,
                    Words { sort: Sort::Apply, text: format!("applies {upto}"), full },
                );
            }
        }
    }

    fn note(&mut self, event: &TraceEvent, node: NodeId, words: Words) {
        let Some(lane) = self.lane(node) else { return };
        let (Moment { row, .. }, Words { sort, text, full }) = (self.row(event), words);
        self.layout.notes.push(Note { row, lane, sort, text, full });
        self.close_span(lane, row);
    }

    /// Ends the span of a lane if the node is something else now.
    fn close_span(&mut self, lane: i32, row: i32) {
        let index = usize::try_from(lane).expect("lanes count from zero");
        let now = self.cast.of(self.layout.lanes[index]);
        let (from, Seen { term, role, process, .. }) = self.since[index];
        if (now.term, now.role, now.process) != (term, role, process) {
            self.layout.spans.push(Span { lane, from, to: row, term, role, process });
            self.since[index] = (row, now);
        }
    }

    fn strip(&mut self, event: &TraceEvent, sort: StripSort, nodes: &[NodeId], text: Vec<String>) {
        let lanes = nodes.iter().filter_map(|node| self.lane(*node)).collect();
        let Moment { row, .. } = self.row(event);
        let rows = match sort {
            StripSort::Fault | StripSort::Part => 1,
            StripSort::Failure => i32::try_from(text.len()).unwrap_or(1).max(1),
        };
        self.layout.rows += rows - 1;
        self.layout.strips.push(Strip { row, rows, sort, lanes, lines: text });
    }

    fn end(mut self) -> Layout {
        let rows = self.layout.rows;
        for (lane, (from, seen)) in (0..).zip(self.since) {
            let Seen { term, role, process, .. } = seen;
            self.layout.spans.push(Span { lane, from, to: rows, term, role, process });
        }
        self.layout
    }
}

/// What the margin shows, in nanoseconds: closer events have the same time there.
const MICRO: u64 = 1_000;
/// A span of time worth a line of its own, in nanoseconds: more than a network needs.
const LEAP: u64 = 10_000_000;
