//! The page is whole, safe to open, and shows what happened.
//!
//! `WRITE_PAGES=folder cargo test -p raft-sim pages` writes the pages of the samples, to be looked
//! at.

use std::{env, fs, path::Path};

use raft_core::RoleName;

use super::label::{Kind, clip, short, wrap};
use super::layout::{End, Layout};
use super::sample::{self, Tale, node};
use super::*;
use crate::trace::TraceEvent;

/// The part of a page that shows one picture.
fn picture<'a>(page: &'a str, class: &str) -> &'a str {
    let opening = format!(r#"<div class="picture {class}">"#);
    let (_, after) = page.split_once(&opening).expect("the picture is there");
    after.split_once("</div>").expect("it ends").0
}

fn count(text: &str, part: &str) -> usize {
    text.matches(part).count()
}

fn arrived(events: &[TraceEvent]) -> Vec<u64> {
    let arrived = |event: &TraceEvent| {
        let What::Arrived { packet, .. } = event.what else { return None };
        Some(packet)
    };
    events.iter().filter_map(arrived).collect()
}

/// Both samples make a page; on request the pages are written, for eyes.
#[test]
fn the_pages_of_the_samples_can_be_looked_at() {
    for (name, report) in [("short", sample::short()), ("long", sample::long())] {
        let page = page(&report);
        assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"));
        assert!(page.len() < 2_000_000, "{name} has {} bytes", page.len());
        if let Some(folder) = env::var_os("WRITE_PAGES") {
            fs::write(Path::new(&folder).join(format!("{name}.html")), page).unwrap();
            fs::write(Path::new(&folder).join(format!("{name}.txt")), report.to_string()).unwrap();
        }
    }
}

/// Nothing is loaded from anywhere: no address, no source, no import, no font.
#[test]
fn a_page_loads_nothing() {
    for report in [sample::short(), sample::long()] {
        let page = page(&report);
        for word in ["http", "src=", "@import", "@font-face", "<link", "href="] {
            assert!(!page.contains(word), "{word} is in the page");
        }
        assert_eq!(
            count(&page, "url("),
            count(&page, "url(#"),
            "only the page itself is referred to"
        );
    }
}

/// Text from a run stays text, wherever it stands.
#[test]
fn what_a_run_says_is_escaped() {
    let evil = "<script>alert('&\"')</script>\u{1}";
    let safe = "&lt;script&gt;alert(&#39;&amp;&quot;&#39;)&lt;/script&gt;\u{fffd}";
    assert_eq!(Escaped(evil).to_string(), safe);

    let mut tale = Tale::new(2);
    let packet = tale.after(1).send(1, 2, evil);
    tale.after(1).arrive(packet);
    tale.wrote(1, evil);
    tale.process(1, ProcessState::Down, evil);
    tale.fault(&[1], evil);
    tale.client(2, evil);
    tale.push(What::Part { text: evil.into() });
    tale.push(What::Failure { node: None, text: evil.into() });
    let mut report = tale.report(evil);
    for text in [&mut report.command, &mut report.oracle] {
        *text = evil.into();
    }
    report.mutant = Some(evil.into());
    report.world = vec![(evil.into(), evil.into())];
    report.disks = vec![(node(1), evil.into())];
    for list in [&mut report.choices, &mut report.history, &mut report.known_bugs] {
        *list = vec![evil.into()];
    }
    let page = page(&report);
    assert_eq!(count(&page, "<script>"), 1, "the one of the page");
    assert!(!page.contains("alert('"));
    assert!(!page.contains('\u{1}'));
    assert!(count(&page, safe) >= 16, "{} times", count(&page, safe));
}

/// Each message that arrived has an arrow with a head, and each that did not has none.
#[test]
fn every_message_that_arrived_has_an_arrow() {
    let report = sample::short();
    let page = page(&report);
    let all = picture(&page, "all");
    let arrived = arrived(&report.trace.events);
    assert!(arrived.len() >= 10);
    for packet in &arrived {
        let (_, after) = all.split_once(&format!(r#"data-packet="{packet}">"#)).expect("an arrow");
        let (arrow, _) = after.split_once("</g>").unwrap();
        assert!(arrow.contains("marker-end="), "{arrow}");
    }
    assert_eq!(count(all, "marker-end="), arrived.len());
    assert_eq!(count(all, r#"class="cross""#), 4, "two lost, one cut, one to nobody");
}

/// The picture of the short sample holds everything that happened, each in its form.
#[test]
fn the_picture_shows_the_whole_story() {
    let report = sample::short();
    let page = page(&report);
    let all = picture(&page, "all");
    for (part, times) in [
        (r#"class="span leader up""#, 1),
        (r#"class="span candidate up""#, 1),
        (r#"class="span pre-candidate up""#, 1),
        (r#"class="span follower down""#, 1),
        (r#"class="span follower recovering""#, 1),
        (r#"class="span follower paused""#, 1),
        (r#"class="note commit""#, 2),
        (r#"class="note write""#, 6),
        (r#"class="note client""#, 2),
        (r#"class="note process""#, 3),
        (r#"class="note process gone""#, 1),
        (r#"<g class="fault">"#, 1),
        (r#"<g class="part">"#, 1),
        (r#"<g class="failure">"#, 1),
        ("n1@4 leader</text>", 1),
        ("n3@4 follower(n1)</text>", 1),
        ("✓ 1@4, applied</text>", 1),
        ("✓ 3@4</text>", 1),
        ("Append [2@4 3@4]</text>", 1),
        ("n3 is down: power lost, 2 pending", 2),
        ("0.151 200 s</text>", 1),
        (r#"class="grid leap""#, 1),
    ] {
        assert_eq!(count(all, part), times, "{part}");
    }
    for part in [
        "seed 42",
        "M03 acknowledges before the sync",
        "cargo run --release -p raft-sim -- replay 42",
        "network.delay #12 = 4000",
        "shrunk from 4711",
        "term=4 vote=n1 [1@4 2@4 3@4]",
        "c1 get a → nothing",
        "etcd 11651",
        "<h1>n1 reports commit 3@4, expected on the disks of 2 of 3 nodes, found on n1 alone</h1>",
    ] {
        assert!(page.contains(part), "{part}");
    }
}

/// Without idle heartbeats there are fewer rows, and no heartbeat but those that changed something.
#[test]
fn heartbeats_can_be_folded_away() {
    let report = sample::long();
    let page = page_of(&report, 10_000);
    let (all, folded) = (picture(&page, "all"), picture(&page, "folded"));
    assert!(count(all, r#"class="message heartbeat"#) > 150);
    assert_eq!(count(folded, r#"class="message heartbeat"#), 17, "those that brought n3 a commit");
    assert!(page.contains(r#"<html lang="en">"#), "there is room for them");
    assert!(super::page(&report).contains(r#"<html lang="en" class="hide-heartbeats">"#));
}

/// A long trace shows its end and says what it leaves out; what began before comes from the edge.
#[test]
fn the_end_of_a_long_trace_is_drawn() {
    let report = sample::long();
    let chars_max = Frame::new(5).failure_chars();
    let layout = Layout::new(&report.trace, &BTreeSet::new(), chars_max);
    let page = page_of(&report, 100);
    let all = picture(&page, "all");
    let left_out = format!("{} earlier rows are left out", layout.rows - 100);
    assert!(all.contains(&left_out), "{left_out}");
    assert!(all.contains(r#"<g class="failure">"#));
    assert!(count(all, " begun\"") > 0, "messages on their way since long ago");
    assert!(count(all, "<text class=\"step\"") <= 100);
}

/// No two texts share a row, arrows point down, and lanes have no gaps.
#[test]
fn rows_follow_events_and_hold_one_text_each() {
    for report in [sample::short(), sample::long()] {
        let layout = Layout::new(&report.trace, &BTreeSet::new(), 80);
        let mut rows = BTreeSet::new();
        let labels = layout.labels.iter().map(|label| label.row);
        let notes = layout.notes.iter().map(|note| note.row);
        let strips = layout.strips.iter().map(|strip| strip.row);
        for row in labels.chain(notes).chain(strips) {
            assert!(rows.insert(row), "row {row} has two texts");
        }
        for arrow in &layout.arrows {
            match arrow.end {
                End::Open => {}
                End::Arrived(end) | End::Vanished(end, _) => {
                    assert!(end.row > arrow.sent.row, "arrows point down");
                    assert!(!rows.contains(&end.row), "an arrival has its row");
                }
            }
        }
        for lane in 0..i32::try_from(layout.lanes.len()).unwrap() {
            let spans = layout.spans.iter().filter(|span| span.lane == lane);
            let end = spans.fold(0, |end, span| {
                assert_eq!(span.from, end, "lanes have no gaps");
                span.to
            });
            assert_eq!(end, layout.rows);
        }
    }
}

/// A trace may be empty, name nobody, lead nowhere or begin in the middle: there is a page.
#[test]
fn an_odd_trace_makes_a_page() {
    let empty = Tale::default().report("nothing happened");
    assert!(page(&empty).contains("nothing happened"));

    let mut tale = Tale::new(2);
    tale.push(What::Arrived { packet: 99, to: node(1) });
    tale.push(What::Vanished { packet: 98, why: "lost" });
    let stray = tale.after(1).send(1, 7, "AppendEntries prev=0@0 [1@1] commit=0 round=1");
    tale.after(1).vanish(stray, "nobody there");
    let own = tale.after(1).send(2, 2, "what nobody can read");
    tale.after(1).arrive(own);
    tale.role(5, 1_000_000, RoleName::Learner, None);
    let page = page(&tale.report("odd"));
    assert!(page.contains("· message 99 arrives"));
    assert!(page.contains(">n5</text>") && !page.contains(">n7</text>"));
    assert_eq!(count(picture(&page, "only"), r#"<g class="message"#), 2);
}

/// Messages are named in few words, by what matters in them.
#[test]
fn messages_have_short_names() {
    for (says, kind, words) in [
        ("PreVote last=9@4", Kind::Vote, "PreVote 9@4"),
        ("RequestVote last=9@4 transfer", Kind::Vote, "RequestVote 9@4 transfer"),
        ("RequestVoteResponse granted", Kind::Vote, "vote granted"),
        ("PreVoteResponse refused", Kind::Vote, "pre-vote refused"),
        ("TimeoutNow", Kind::Vote, "TimeoutNow"),
        ("AppendEntries prev=9@4 [10@4] commit=9 round=3", Kind::Append, "Append [10@4]"),
        ("AppendEntries prev=9@4 [10@4 11@4 12@5] commit=9", Kind::Append, "Append [10@4 … 12@5]"),
        ("AppendEntries prev=9@4 [] commit=9 round=3", Kind::Append, "Append [] commit=9"),
        ("AppendEntriesResponse match=9 accepted=9 round=3", Kind::Answer, "match 9"),
        ("AppendEntriesResponse match=9 accepted=12", Kind::Answer, "match 9, accepted 12"),
        ("AppendEntriesResponse conflict hint=4@2 rejected=9", Kind::Answer, "conflict 4@2"),
        ("InstallSnapshot last=9@4", Kind::Snapshot, "InstallSnapshot 9@4"),
        ("InstallSnapshotResponse match=9", Kind::Snapshot, "snapshot match 9"),
        ("ReadIndexResponse batch=1 index=9", Kind::Forward, "read at 9"),
        ("Propose serial=1 [\"x\"]", Kind::Forward, "Propose serial=1 [\"x\"]"),
    ] {
        let text = format!("n1@4 → n2 {says}");
        assert_eq!((Kind::of(&text, false), short(&text)), (kind, words.to_owned()), "{says}");
        assert_eq!(Kind::of(&text, true), Kind::Heartbeat);
    }
    assert_eq!(short("unreadable"), "unreadable");
    assert_eq!((clip("abcdef", 4), clip("äöü", 3)), ("abc…".into(), "äöü".into()));
    assert_eq!(wrap("one two\nthree abcdefghij", 7), ["one two", "three", "abcdef…"]);
}
