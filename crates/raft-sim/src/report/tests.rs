//! A report told as text says what happened, in the notation of scripts.

use super::*;
use crate::html::sample::{self, Tale, node};

/// The text begins with the signature, says how to replay, and ends with what is left behind.
#[test]
fn a_report_tells_its_story() {
    let text = sample::short().story(1_000);
    let mut rest = text.as_str();
    for part in [
        "✗ durable quorum · seed 42 · event 27 at 0.189 780 s\n",
        "  with the known bug: M03 acknowledges before the sync\n",
        "  n1 reports commit 3@4, expected on the disks",
        "\nreplay\n  cargo run --release -p raft-sim -- replay 42\n",
        "\nworld\n  nodes         3\n",
        "\nchoices, 2 of 4711\n  network.delay #12 = 4000\n",
        "events, without 2 heartbeats that changed nothing\n",
        "── storm ──\n",
        "0.151 200 s #1       n1@0 follower ⇨ n1@3 pre-candidate\n",
        "  n1@3 → n2 PreVote last=0@0\n",
        "  ✗ n1@3 → n3 PreVote last=0@0: lost\n",
        "  · n1@3 → n2 PreVote last=0@0 arrives\n",
        "  n1@4 ⇒ disk term=4 vote=n1\n",
        "  n1@4 candidate ⇨ n1@4 leader\n",
        "  n2@4 follower ⇨ n2@4 follower(n1)\n",
        "  n1@4 commits 1@4\n",
        "  n1@4 applies 1\n",
        "  client at n1: c1 put a=1\n",
        "  ! cut n1 ↔ n2, both ways\n",
        "  ! n3 is down: power lost, 2 pending writes gone\n",
        "  ! n3 recovers\n",
        "  ! n2 is paused\n",
        "  n1@4 commits 3@4\n",
        "  ✗✗ n1@4: n1 reports commit 3@4",
        "\ndisks\n  n1  term=4 vote=n1 [1@4 2@4 3@4]\n",
        "  n2  term=4 vote=n1 [1@4]\n      snapshot none\n",
        "\noperations\n  c1 put a=1 → ok at 3@4\n",
        "\nknown bugs with this signature\n  etcd 11651",
    ] {
        let at = rest.find(part).unwrap_or_else(|| panic!("{part:?} is missing in\n{rest}"));
        rest = &rest[at + part.len()..];
    }
}

/// A terminal gets the last forty events; whoever wants more asks for more.
#[test]
fn a_terminal_gets_the_last_events() {
    let report = sample::long();
    let text = report.to_string();
    assert_eq!(text, report.story(40));
    assert!(text.contains("\nlast 40 of "), "{text}");
    assert!(!text.contains("── storm ──") && text.contains("✗✗ n2@"), "{text}");
    assert!(report.story(10_000).contains("── storm ──"));
}

/// A message whose beginning is unknown is told by its number; an empty report has no empty parts.
#[test]
fn an_odd_report_is_told_too() {
    let mut tale = Tale::new(1);
    tale.push(What::Arrived { packet: 9, to: node(1) });
    let mut report = tale.report("odd");
    (report.disks, report.history, report.known_bugs) = (Vec::new(), Vec::new(), Vec::new());
    report.mutant = None;
    let text = report.to_string();
    assert!(text.contains("· message 9 arrives"), "{text}");
    for title in ["disks", "operations", "known bug"] {
        assert!(!text.contains(title), "{title}");
    }
}

/// Time is told in seconds, thousandths and millionths.
#[test]
fn time_is_for_people() {
    assert_eq!(Clock(12_345_678_901).to_string(), "12.345 678 s");
    assert_eq!(Clock(0).to_string(), "0.000 000 s");
}

/// A heartbeat that brings a commit is not idle; one that brings nothing, or never arrives, is.
#[test]
fn a_heartbeat_that_changes_something_is_kept() {
    let mut tale = Tale::new(2);
    let beats = [(); 3].map(|()| tale.after(1).send(1, 2, "AppendEntries prev=1@1 [] commit=1"));
    tale.after(1).arrive(beats[0]);
    tale.commit(2, 1, 1);
    tale.after(1).arrive(beats[1]);
    tale.after(1).vanish(beats[2], "lost");
    let idle = idle_heartbeats(&tale.trace);
    assert_eq!(idle.into_iter().collect::<Vec<_>>(), [beats[1], beats[2]]);
}
