//! The report of a failing run as one page: a space-time diagram, and what led to it.
//!
//! * The page is one file and loads nothing: it can be attached, archived, and read without a
//!   network.
//! * Every text that comes from a run is escaped.
//!
//! One lane per node, time flows downward, one event per row. The map: `html/layout.rs` decides
//! which event gets which row, `html/draw.rs` draws rows as SVG, `html/label.rs` shortens messages;
//! `html/page.css` and `html/page.js` are put into the page as they are.

use core::fmt::{self, Write};
use std::collections::BTreeSet;

use raft_core::RoleName;

use self::draw::{Frame, process_class, role_class};
use self::label::Kind;
use self::layout::Layout;
use crate::report::{Clock, Report, idle_heartbeats};
use crate::trace::{ProcessState, What};

mod draw;
mod label;
mod layout;
#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
mod tests;

/// Draws a report as a page of HTML that needs nothing but a browser.
///
/// The last 400 rows are drawn; the page says how many earlier ones are left out. Heartbeats that
/// changed nothing can be hidden, and are at first if there is no room for them.
pub fn page(report: &Report) -> String {
    page_of(report, ROWS)
}

fn page_of(report: &Report, rows_max: usize) -> String {
    let mut out = String::new();
    write_page(&mut out, report, rows_max).expect("writing into a string cannot fail");
    out
}

fn write_page(out: &mut String, report: &Report, rows_max: usize) -> fmt::Result {
    let idle = idle_heartbeats(&report.trace);
    let nodes = layout::nodes(&report.trace);
    let frame = Frame::new(nodes.len());
    let lay = |without: &BTreeSet<u64>| Layout::new(&report.trace, without, frame.failure_chars());
    let all = lay(&BTreeSet::new());
    let is_crowded = usize::try_from(all.rows).is_ok_and(|rows| rows > rows_max);
    let is_folded = is_crowded && !idle.is_empty();

    write_head(out, report, is_folded)?;
    write_verdict(out, report)?;
    write_folds(out, report)?;
    writeln!(out, "</header>")?;
    write_controls(out, idle.len(), is_folded)?;
    write_legend(out)?;
    let framed = frame.of(&all, rows_max);
    writeln!(out, r#"<main><div class="sticky">"#)?;
    draw::names(out, frame, &nodes)?;
    writeln!(out, "</div>")?;
    draw::definitions(out)?;
    // A picture with heartbeats and one without: rows close up when heartbeats are hidden.
    if idle.is_empty() {
        write_picture(out, "only", framed, &all)?;
    } else {
        write_picture(out, "all", framed, &all)?;
        let folded = lay(&idle);
        write_picture(out, "folded", frame.of(&folded, rows_max), &folded)?;
    }
    writeln!(out, "</main>\n<p id=\"say\"></p>")?;
    writeln!(out, "<script>\n{}</script>\n</body>\n</html>", include_str!("html/page.js"))
}

fn write_head(out: &mut String, report: &Report, is_folded: bool) -> fmt::Result {
    let class = if is_folded { r#" class="hide-heartbeats""# } else { "" };
    writeln!(out, "<!doctype html>\n<html lang=\"en\"{class}>\n<head>\n<meta charset=\"utf-8\">")?;
    writeln!(out, r#"<meta name="viewport" content="width=device-width, initial-scale=1">"#)?;
    writeln!(out, "<title>{} · seed {}</title>", Escaped(&report.oracle), report.seed)?;
    writeln!(out, "<style>\n{}</style>\n</head>\n<body>", include_str!("html/page.css"))
}

fn write_verdict(out: &mut String, report: &Report) -> fmt::Result {
    let Report { seed, oracle, statement, command, step, .. } = report;
    let (oracle, statement, command) = (Escaped(oracle), Escaped(statement), Escaped(command));
    let mark = report.mark();
    writeln!(out, r#"<header><section class="verdict"><p class="oracle">{mark} {oracle}</p>"#)?;
    writeln!(out, "<h1>{statement}</h1>")?;
    let is_failure = |what: &What| matches!(what, What::Failure { .. });
    let has_row = report.trace.events.iter().any(|event| is_failure(&event.what));
    let jump = if has_row {
        r#" · <button class="plain" id="jump" type="button">show where</button>"#
    } else {
        ""
    };
    writeln!(out, "<p>event {step} at {}{jump}</p></section>", Clock(report.at))?;
    let events = &report.trace.events;
    let count = |test: fn(&What) -> bool| events.iter().filter(|event| test(&event.what)).count();
    let sent = count(|what| matches!(what, What::Sent { .. }));
    let lost = count(|what| matches!(what, What::Vanished { .. }));
    writeln!(out, r#"<dl class="facts">"#)?;
    let mut fact = |name: &str, value: &str| {
        writeln!(out, "<div><dt>{name}</dt><dd>{}</dd></div>", Escaped(value))
    };
    fact("seed", &seed.to_string())?;
    if let Some(mutant) = &report.mutant {
        fact("known bug compiled in", mutant)?;
    }
    fact("nodes", &layout::nodes(&report.trace).len().to_string())?;
    fact("events", &events.len().to_string())?;
    fact("messages", &format!("{sent}, {lost} of them lost"))?;
    fact("choices", &format!("{}, shrunk from {}", report.choices.len(), report.choices_before))?;
    writeln!(out, "</dl>")?;
    writeln!(
        out,
        r#"<div class="replay"><code id="command">{command}</code
><button id="copy" type="button">copy</button></div>"#
    )
}

fn write_folds(out: &mut String, report: &Report) -> fmt::Result {
    writeln!(out, r#"<div class="folds">"#)?;
    write_list(out, "Known bugs with this signature", &report.known_bugs)?;
    let world = report.world.iter().map(|(name, value)| (name.clone(), value.as_str()));
    write_pairs(out, "World", &world.collect::<Vec<_>>())?;
    write_list(out, "Choices that were not the mildest", &report.choices)?;
    write_list(out, "Operations of clients", &report.history)?;
    let disks = report.disks.iter().map(|(node, image)| (node.to_string(), image.as_str()));
    write_pairs(out, "Durable images", &disks.collect::<Vec<_>>())?;
    writeln!(out, "</div>")
}

fn write_list(out: &mut String, title: &str, lines: &[String]) -> fmt::Result {
    if lines.is_empty() {
        return Ok(());
    }
    let count = lines.len();
    writeln!(out, r#"<details><summary>{title} <span>{count}</span></summary><ol class="list">"#)?;
    lines.iter().try_for_each(|line| writeln!(out, "<li>{}</li>", Escaped(line)))?;
    writeln!(out, "</ol></details>")
}

fn write_pairs(out: &mut String, title: &str, pairs: &[(String, &str)]) -> fmt::Result {
    if pairs.is_empty() {
        return Ok(());
    }
    let count = pairs.len();
    writeln!(
        out,
        r#"<details><summary>{title} <span>{count}</span></summary><table class="pairs">"#
    )?;
    for (name, value) in pairs {
        writeln!(out, "<tr><th>{}</th><td>{}</td></tr>", Escaped(name), Escaped(value))?;
    }
    writeln!(out, "</table></details>")
}

fn write_controls(out: &mut String, heartbeats: usize, is_folded: bool) -> fmt::Result {
    writeln!(out, r#"<div class="controls">"#)?;
    if heartbeats > 0 {
        let checked = if is_folded { "" } else { " checked" };
        writeln!(
            out,
            r#"<label
title="heartbeats and answers to them that changed no role and no commit index"
><input type="checkbox" data-hides="heartbeats"{checked}
>{heartbeats} idle heartbeats</label>"#
        )?;
    }
    for (name, title) in [("labels", "texts of messages"), ("writes", "writes and applies")] {
        writeln!(
            out,
            r#"<label><input type="checkbox" data-hides="{name}" checked>{title}</label>"#
        )?;
    }
    writeln!(out, "</div>")
}

fn write_legend(out: &mut String) -> fmt::Result {
    const ROLES: [RoleName; 5] = [
        RoleName::Leader,
        RoleName::Candidate,
        RoleName::PreCandidate,
        RoleName::Follower,
        RoleName::Learner,
    ];
    const STATES: [ProcessState; 3] =
        [ProcessState::Recovering, ProcessState::Paused, ProcessState::Down];
    writeln!(out, r#"<div class="note-line legend">"#)?;
    let mut band = |class: &str, name: &str| {
        writeln!(
            out,
            r#"<span><svg width="18" height="16"
><rect class="span {class}" x="2" y="1" width="14" height="14" rx="3"/></svg>{name}</span>"#
        )
    };
    for role in ROLES {
        band(role_class(role), &role.to_string())?;
    }
    for state in STATES {
        let class = process_class(state);
        band(&format!("follower {class}"), class)?;
    }
    for kind in Kind::ALL {
        let (class, title) = (kind.class(), kind.title());
        writeln!(
            out,
            r#"<span><svg width="32" height="12"><g class="message {class}"
><path class="line" d="M1 6 L29 6" marker-end="url(#head-{class})"/></g></svg>{title}</span>"#
        )?;
    }
    writeln!(
        out,
        r#"<span><svg width="32" height="12"><g class="message answer vanished"
><path class="line" d="M1 6 L22 6"/>
<path class="cross" d="M20 2 l8 8 m0 -8 l-8 8"/></g></svg>never arrives</span>
<span><svg width="32" height="12"><g class="message append open"
><path class="line" d="M1 6 L29 6"/></g></svg>still on its way</span>
<span><svg width="16" height="12"><g class="note commit"
><path class="tick" d="M2 6 h10"/></g></svg>commit ✓ index@term</span>
<span><svg width="18" height="16"><g class="fault"
><path class="diamond"
d="M9 1 l7 7 l-7 7 l-7 -7 z"/></g></svg>fault</span>
<span><svg width="32" height="12"><path class="grid leap" d="M1 6 H31"/></svg
>10 ms or more pass</span>
<span>number in a lane: term</span>"#
    )?;
    writeln!(out, "</div>")
}

fn write_picture(out: &mut String, class: &str, frame: Frame, layout: &Layout) -> fmt::Result {
    writeln!(out, r#"<div class="picture {class}">"#)?;
    match frame.first {
        0 => {}
        1 => writeln!(out, r#"<p class="note-line left-out">1 earlier row is left out</p>"#)?,
        rows => {
            writeln!(out, r#"<p class="note-line left-out">{rows} earlier rows are left out</p>"#)?;
        }
    }
    draw::picture(out, frame, layout)?;
    writeln!(out, "</div>")
}

/// A text as it may stand in HTML, in an element or in an attribute.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for char in self.0.chars() {
            match char {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                '\n' | '\t' => f.write_char(char)?,
                // HTML knows no other control characters.
                char if char.is_control() => f.write_char(char::REPLACEMENT_CHARACTER)?,
                char => f.write_char(char)?,
            }
        }
        Ok(())
    }
}

/// The rows a page draws: more is no longer read.
const ROWS: usize = 400;
