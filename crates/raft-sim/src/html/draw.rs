//! From rows to shapes: the picture as SVG.
//!
//! All numbers are whole pixels. Colours are in `page.css`; here are only names of classes.

use core::fmt::{self, Write};

use raft_core::{NodeId, RoleName};

use super::Escaped;
use super::label::{self, Kind};
use super::layout::{Arrow, End, Label, Layout, Moment, Note, Sort, Span, Stamp, Strip, StripSort};
use crate::report::Clock;
use crate::trace::ProcessState;

/// How wide things are, given the number of lanes, and which rows are drawn.
#[derive(Clone, Copy)]
pub(super) struct Frame {
    lanes: i32,
    gap: i32,
    /// The first row that is drawn.
    pub(super) first: i32,
    /// The row after the last.
    rows: i32,
}

impl Frame {
    /// A frame for so many lanes; it shows no row yet.
    pub(super) fn new(lanes: usize) -> Self {
        let gap = match lanes {
            0..=2 => 340,
            3 => 300,
            4 => 260,
            5 => 232,
            6 => 206,
            _ => 190,
        };
        Self { lanes: i32::try_from(lanes).expect("lanes are few"), gap, first: 0, rows: 0 }
    }

    /// Shows the last rows of a layout, at most so many.
    pub(super) fn of(self, layout: &Layout, rows_max: usize) -> Self {
        let rows_max = i32::try_from(rows_max).unwrap_or(i32::MAX);
        Self { first: (layout.rows - rows_max).max(0), rows: layout.rows, ..self }
    }

    /// How many characters of a failure fit into a line.
    pub(super) fn failure_chars(self) -> usize {
        chars(self.width() - LEFT, 80)
    }

    fn x(self, lane: i32) -> i32 {
        LEFT + lane * self.gap
    }

    fn y(self, row: i32) -> i32 {
        TOP + (row - self.first) * ROW
    }

    fn width(self) -> i32 {
        LEFT + self.lanes.max(1) * self.gap
    }

    fn height(self) -> i32 {
        self.y(self.rows) + ROW / 2
    }

    fn is_drawn(self, row: i32) -> bool {
        row >= self.first
    }
}

/// Draws the names of the lanes, a picture of its own that stays in view.
pub(super) fn names(out: &mut String, frame: Frame, nodes: &[NodeId]) -> fmt::Result {
    let width = frame.width();
    writeln!(out, r#"<svg class="names" width="{width}" height="34" viewBox="0 0 {width} 34">"#)?;
    writeln!(out, r#"<text class="head" x="{TIME}" y="22" text-anchor="end">time</text>"#)?;
    writeln!(out, r#"<text class="head" x="10" y="22">event</text>"#)?;
    for (lane, node) in (0..).zip(nodes) {
        let x = frame.x(lane);
        writeln!(out, r#"<rect x="{}" y="5" width="48" height="24" rx="12"/>"#, x - 24)?;
        writeln!(out, r#"<text class="name" x="{x}" y="22" text-anchor="middle">{node}</text>"#)?;
    }
    writeln!(out, "</svg>")
}

/// Draws what every picture refers to: heads of arrows, and hatching.
pub(super) fn definitions(out: &mut String) -> fmt::Result {
    writeln!(out, r#"<svg class="definitions" width="0" height="0" aria-hidden="true"><defs>"#)?;
    for kind in Kind::ALL {
        let class = kind.class();
        writeln!(
            out,
            r#"<marker id="head-{class}" class="tip {class}" viewBox="0 0 10 10"
refX="9" refY="5" markerWidth="10" markerHeight="10" markerUnits="userSpaceOnUse" orient="auto"
><path d="M0 1 L10 5 L0 9 L2.5 5 z"/></marker>"#
        )?;
    }
    writeln!(
        out,
        r#"<pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse"
patternTransform="rotate(45)"><rect class="hatch-ground" width="6" height="6"/>
<rect class="hatch-line" width="2" height="6"/></pattern>"#
    )?;
    writeln!(out, "</defs></svg>")
}

/// Draws the rows of a frame.
pub(super) fn picture(out: &mut String, frame: Frame, layout: &Layout) -> fmt::Result {
    let (width, height) = (frame.width(), frame.height());
    writeln!(
        out,
        r#"<svg class="space-time" width="{width}" height="{height}" viewBox="0 0 {width} {height}"
role="img" aria-label="space-time diagram">"#
    )?;
    for stamp in layout.stamps.iter().filter(|stamp| frame.is_drawn(stamp.row)) {
        draw_stamp(out, frame, stamp)?;
    }
    let strips = || layout.strips.iter().filter(|strip| frame.is_drawn(strip.row));
    strips().try_for_each(|strip| draw_ground(out, frame, strip))?;
    for span in layout.spans.iter().filter(|span| span.to > frame.first) {
        draw_span(out, frame, span)?;
    }
    layout.arrows.iter().try_for_each(|arrow| draw_arrow(out, frame, arrow))?;
    for label in layout.labels.iter().filter(|label| frame.is_drawn(label.row)) {
        draw_label(out, frame, label)?;
    }
    for note in layout.notes.iter().filter(|note| frame.is_drawn(note.row)) {
        draw_note(out, frame, note)?;
    }
    strips().try_for_each(|strip| draw_strip(out, frame, strip))?;
    writeln!(out, "</svg>")
}

fn draw_stamp(out: &mut String, frame: Frame, stamp: &Stamp) -> fmt::Result {
    let Stamp { row, at, step, is_later, is_leap } = stamp;
    let y = frame.y(*row);
    if *is_later {
        let (top, class) = (y - ROW / 2, if *is_leap { "grid leap" } else { "grid" });
        let (left, right) = (LEFT - 30, frame.width());
        writeln!(out, r#"<path class="{class}" d="M{left} {top} H{right}"/>"#)?;
        let (y, clock) = (y + 4, Clock(*at));
        writeln!(out, r#"<text class="time" x="{TIME}" y="{y}" text-anchor="end">{clock}</text>"#)?;
    }
    writeln!(out, r#"<text class="step" x="10" y="{}">#{step}</text>"#, y + 4)
}

fn draw_span(out: &mut String, frame: Frame, span: &Span) -> fmt::Result {
    let (x, y) = (frame.x(span.lane), frame.y(span.from.max(frame.first)));
    let y = if span.from < frame.first || span.from == 0 { y - TOP } else { y };
    let bottom = if span.to == frame.rows { frame.height() } else { frame.y(span.to) - 1 };
    let (role, process) = (role_class(span.role), process_class(span.process));
    let (left, height) = (x - BAND / 2, (bottom - y).max(1));
    writeln!(
        out,
        r#"<rect class="span {role} {process}" x="{left}" y="{y}" width="{BAND}"
height="{height}" rx="4"/>"#
    )?;
    // A long term does not fit into the band; the role's note has it.
    if span.process != ProcessState::Down && span.term.get() < 1_000 {
        let (mut line, term) = (y + 14, span.term);
        while line < bottom - 3 {
            writeln!(
                out,
                r#"<text class="term {role} {process}" x="{x}" y="{line}"
text-anchor="middle">{term}</text>"#
            )?;
            line += TERM_EVERY * ROW;
        }
    }
    Ok(())
}

fn draw_arrow(out: &mut String, frame: Frame, arrow: &Arrow) -> fmt::Result {
    let Arrow { packet, from, to, sent, end, kind, text } = arrow;
    let end_row = match end {
        End::Arrived(moment) | End::Vanished(moment, _) => moment.row,
        End::Open => frame.rows,
    };
    if end_row < frame.first {
        return Ok(());
    }
    let dir = (to.unwrap_or(from + 1) - from).signum();
    let is_begun = frame.is_drawn(sent.row);
    let x1 = frame.x(*from) + dir * (BAND / 2 + 1);
    let y1 = if is_begun { frame.y(sent.row) } else { 0 };
    let target = to.map_or(x1 + frame.gap / 3, |to| frame.x(to) - dir * (BAND / 2 + 2));
    // What is lost at once ends on the way, what is lost later at the door of the receiver.
    let lost_at = match end {
        End::Vanished(lost, why) if lost.at > sent.at => target - dir * (pixels(why) + 16),
        End::Vanished(..) | End::Arrived(_) | End::Open => (x1 * 45 + target * 55) / 100,
    };
    let (class, fate) = (kind.class(), if is_begun { "" } else { " begun" });
    let (x2, y2, end_class) = match end {
        End::Arrived(moment) => (target, frame.y(moment.row), "arrived"),
        End::Vanished(moment, _) => (lost_at, frame.y(moment.row), "vanished"),
        End::Open => ((x1 + 2 * target) / 3, frame.height() - 2, "open"),
    };
    let path = match to {
        Some(to) if to == from => {
            let (x, bend) = (frame.x(*from) + BAND / 2 + 2, frame.x(*from) + 60);
            format!("M{x} {y1} C{bend} {y1} {bend} {y2} {x} {y2}")
        }
        Some(_) | None => format!("M{x1} {y1} L{x2} {y2}"),
    };
    writeln!(out, r#"<g class="message {class} {end_class}{fate}" data-packet="{packet}">"#)?;
    writeln!(out, "<title>{}\n{}</title>", Escaped(text), Course(*sent, *end))?;
    let head = match end {
        End::Arrived(_) => format!(r#" marker-end="url(#head-{class})""#),
        End::Vanished(..) | End::Open => String::new(),
    };
    writeln!(out, r#"<path class="hit" d="{path}"/><path class="line" d="{path}"{head}/>"#)?;
    if let End::Vanished(_, why) = end {
        let cross = format!("M{} {} l8 8 m0 -8 l-8 8", x2 - 4, y2 - 4);
        writeln!(out, r#"<path class="cross" d="{cross}"/>"#)?;
        let anchor = if dir < 0 { "end" } else { "start" };
        let (x, y) = (x2 + if dir < 0 { -9 } else { 9 }, y2 + 4);
        let why = Escaped(why);
        writeln!(out, r#"<text class="why" x="{x}" y="{y}" text-anchor="{anchor}">{why}</text>"#)?;
    }
    writeln!(out, "</g>")
}

/// When a message was sent, and what became of it.
struct Course(Moment, End);

impl fmt::Display for Course {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(sent, end) = self;
        let after = |moment: Moment| {
            let micros = moment.at.saturating_sub(sent.at) / 1_000;
            format!("{}.{:03} ms later", micros / 1_000, micros % 1_000)
        };
        write!(f, "sent at {}", Clock(sent.at))?;
        match *end {
            End::Arrived(moment) => write!(f, ", arrived {}", after(moment)),
            End::Vanished(moment, why) => write!(f, ", {} {}", Escaped(why), after(moment)),
            End::Open => f.write_str(", still on its way at the end"),
        }
    }
}

fn draw_label(out: &mut String, frame: Frame, label: &Label) -> fmt::Result {
    let (side, anchor) = if label.is_right { (1, "start") } else { (-1, "end") };
    let (x, y) = (frame.x(label.lane) + side * (BAND / 2 + 7), frame.y(label.row) - 4);
    let (class, text) = (label.kind.class(), label::clip(&label.text, chars(frame.gap - 36, 66)));
    let text = Escaped(&text);
    writeln!(
        out,
        r#"<text class="label {class}" x="{x}" y="{y}" text-anchor="{anchor}">{text}</text>"#
    )
}

fn draw_note(out: &mut String, frame: Frame, note: &Note) -> fmt::Result {
    let (x, y) = (frame.x(note.lane) + BAND / 2, frame.y(note.row));
    let (class, is_pill) = match note.sort {
        Sort::Role(role) => (role_class(role), true),
        Sort::Process(ProcessState::Down) => ("process gone", true),
        Sort::Process(ProcessState::Recovering | ProcessState::Up | ProcessState::Paused) => {
            ("process", true)
        }
        Sort::Commit => ("commit", false),
        Sort::Apply => ("apply", false),
        Sort::Write => ("write", false),
        Sort::Client => ("client", true),
        Sort::Stray => ("stray", false),
    };
    let text = label::clip(&note.text, chars(frame.gap - BAND - 28, 66));
    writeln!(out, r#"<g class="note {class}"><title>{}</title>"#, Escaped(&note.full))?;
    writeln!(out, r#"<path class="tick" d="M{x} {y} h8"/>"#)?;
    if is_pill {
        let (left, top, width) = (x + 6, y - 9, pixels(&text) + 14);
        writeln!(
            out,
            r#"<rect class="pill" x="{left}" y="{top}" width="{width}" height="18" rx="9"/>"#
        )?;
    }
    let x = x + if is_pill { 13 } else { 12 };
    writeln!(out, r#"<text x="{x}" y="{}">{}</text></g>"#, y + 4, Escaped(&text))
}

/// What lies under the lanes.
fn draw_ground(out: &mut String, frame: Frame, strip: &Strip) -> fmt::Result {
    let (y, left) = (frame.y(strip.row), LEFT - 30);
    let width = frame.width() - left;
    match strip.sort {
        StripSort::Fault => writeln!(
            out,
            r#"<rect class="ground fault" x="{left}" y="{}" width="{width}" height="20"/>"#,
            y - 10
        ),
        StripSort::Part => {
            writeln!(out, r#"<path class="ground part" d="M{left} {y} H{}"/>"#, frame.width())
        }
        StripSort::Failure => Ok(()),
    }
}

fn draw_strip(out: &mut String, frame: Frame, strip: &Strip) -> fmt::Result {
    let y = frame.y(strip.row);
    match strip.sort {
        StripSort::Fault => draw_fault(out, frame, strip),
        StripSort::Part => {
            let text = strip.lines.concat();
            // Between the first two lanes: it covers none.
            let (middle, width) = (LEFT + frame.gap / 2, pixels(&text) * 12 / 10 + 40);
            let (x, top) = (middle - width / 2, y - 10);
            writeln!(out, r#"<g class="part"><title>{}</title>"#, Escaped(&text))?;
            writeln!(out, r#"<rect x="{x}" y="{top}" width="{width}" height="20" rx="10"/>"#)?;
            let text = Escaped(&text);
            writeln!(
                out,
                r#"<text x="{middle}" y="{}" text-anchor="middle">{text}</text></g>"#,
                y + 4
            )
        }
        StripSort::Failure => {
            let (height, width) = (strip.rows * ROW - 2, frame.width() - 8);
            writeln!(
                out,
                r#"<g class="failure"><title>{}</title>"#,
                Escaped(&strip.lines.join(" "))
            )?;
            writeln!(
                out,
                r#"<rect x="4" y="{}" width="{width}" height="{height}" rx="5"/>"#,
                y - ROW / 2 + 1
            )?;
            let clock = "✗";
            writeln!(
                out,
                r#"<text x="{}" y="{}" text-anchor="end">{clock}</text>"#,
                LEFT - 36,
                y + 5
            )?;
            for (line, text) in (0..).zip(&strip.lines) {
                let (x, y, text) = (LEFT - 26, y + line * ROW + 5, Escaped(text));
                writeln!(out, r#"<text x="{x}" y="{y}">{text}</text>"#)?;
            }
            for lane in &strip.lanes {
                let (x, y) = (frame.x(*lane), y - ROW / 2 - 4);
                writeln!(out, r#"<path class="pointer" d="M{x} {y} l-6 -8 h12 z"/>"#)?;
            }
            writeln!(out, "</g>")
        }
    }
}

fn draw_fault(out: &mut String, frame: Frame, strip: &Strip) -> fmt::Result {
    let (y, text) = (frame.y(strip.row), strip.lines.concat());
    let (first, last) = (strip.lanes.iter().min().copied(), strip.lanes.iter().max().copied());
    let room = |x: i32| frame.width() - x - 20;
    // Behind the last lane concerned if there is room, for the text would cover its mark.
    let after = |lane: Option<i32>| frame.x(lane.unwrap_or(0)) + BAND / 2 + 6;
    let x = if pixels(&text) <= room(after(last)) { after(last) } else { after(first) };
    let shown = label::clip(&text, chars(room(x), 66));
    writeln!(out, r#"<g class="fault"><title>{}</title>"#, Escaped(&text))?;
    if let (Some(first), Some(last)) = (first, last) {
        writeln!(out, r#"<path class="link" d="M{} {y} H{}"/>"#, frame.x(first), frame.x(last))?;
    }
    let width = pixels(&shown) + 16;
    writeln!(
        out,
        r#"<rect class="pill" x="{x}" y="{}" width="{width}" height="18" rx="4"/>"#,
        y - 9
    )?;
    writeln!(out, r#"<text x="{}" y="{}">{}</text>"#, x + 8, y + 4, Escaped(&shown))?;
    for lane in &strip.lanes {
        let (x, y) = (frame.x(*lane), y - 7);
        writeln!(out, r#"<path class="diamond" d="M{x} {y} l7 7 l-7 7 l-7 -7 z"/>"#)?;
    }
    writeln!(out, "</g>")
}

/// The name of a role in the style sheet.
pub(super) const fn role_class(role: RoleName) -> &'static str {
    match role {
        RoleName::Follower => "follower",
        RoleName::Learner => "learner",
        RoleName::PreCandidate => "pre-candidate",
        RoleName::Candidate => "candidate",
        RoleName::Leader => "leader",
    }
}

/// The name of a process's state in the style sheet.
pub(super) const fn process_class(state: ProcessState) -> &'static str {
    match state {
        ProcessState::Recovering => "recovering",
        ProcessState::Up => "up",
        ProcessState::Paused => "paused",
        ProcessState::Down => "down",
    }
}

/// How many characters of so many tenths of a pixel fit.
fn chars(pixels: i32, tenths: i32) -> usize {
    usize::try_from(pixels * 10 / tenths).unwrap_or(0).max(4)
}

fn pixels(text: &str) -> i32 {
    i32::try_from(text.chars().count()).unwrap_or(i32::MAX / 100) * 66 / 10
}

/// The height of a row.
const ROW: i32 = 24;
/// What is above the first row.
const TOP: i32 = 22;
/// The width of a lane's band.
const BAND: i32 = 18;
/// The middle of the first lane.
const LEFT: i32 = 216;
/// The right edge of the column of times.
const TIME: i32 = 172;
/// A band repeats its term after so many rows.
const TERM_EVERY: i32 = 16;
