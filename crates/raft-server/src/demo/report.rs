//! The result of the demo, as sentences and as JSON. Read next: `judge.rs`.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::json;

use super::DemoOptions;
use super::grow::Changed;
use super::history::{Holdings, Outcome, Write};
use super::judge::Verdict;

/// All that is told at the end.
#[derive(Debug)]
pub(super) struct Report {
    nodes: usize,
    clients: u32,
    verdict: Verdict,
    took: Duration,
    failovers: Vec<Duration>,
    changes: Vec<Changed>,
    /// Times from sending a write to its acknowledgement, ascending.
    latencies: Vec<Duration>,
    /// Keys that each member held.
    keys: Vec<usize>,
}

impl Report {
    pub(super) fn new(
        options: &DemoOptions,
        history: &[Write],
        members: &[Holdings],
        verdict: Verdict,
        took: Duration,
        (failovers, changes): (Vec<Duration>, Vec<Changed>),
    ) -> Self {
        let applied =
            history.iter().filter(|write| matches!(write.outcome, Outcome::Applied { .. }));
        let mut latencies: Vec<Duration> =
            applied.map(|write| write.answered.saturating_sub(write.sent)).collect();
        latencies.sort_unstable();
        let keys = members.iter().map(|member| member.keys.len()).collect();
        let (nodes, clients) = (members.len(), options.clients);
        Self { nodes, clients, verdict, took, failovers, changes, latencies, keys }
    }

    /// Whether every promise was kept.
    pub(super) fn is_good(&self) -> bool {
        self.verdict.is_good()
    }

    /// The latency that `percent` of all acknowledged writes did not exceed, in milliseconds.
    fn percentile_ms(&self, percent: usize) -> f64 {
        let place = (self.latencies.len() * percent).div_ceil(100).saturating_sub(1);
        self.latencies.get(place).copied().map_or(0.0, millis)
    }

    fn writes_per_second(&self) -> u64 {
        let micros = self.took.as_micros().max(1);
        u64::try_from(self.verdict.acked as u128 * 1_000_000 / micros).unwrap_or(u64::MAX)
    }

    /// One JSON object on one line.
    pub(super) fn json(&self) -> String {
        let verdict = &self.verdict;
        let failovers: Vec<f64> = self.failovers.iter().copied().map(millis).collect();
        let change =
            |change: &Changed| json!({ "what": change.what, "took_ms": millis(change.took) });
        let object = json!({
            "ok": self.is_good(),
            "acked": verdict.acked,
            "unknown": verdict.unknown,
            "not_applied": verdict.not_applied,
            "lost": verdict.lost.len(),
            "phantom": verdict.phantom.len(),
            "disorder": verdict.disorder.len(),
            "kills": self.failovers.len(),
            "failover_ms": failovers,
            "changes": self.changes.iter().map(change).collect::<Vec<_>>(),
            "writes_per_second": self.writes_per_second(),
            "p50_ms": self.percentile_ms(50),
            "p99_ms": self.percentile_ms(99),
            "max_ms": self.percentile_ms(100),
            "duration_s": millis(self.took) / 1000.0,
            "nodes": self.nodes,
            "clients": self.clients,
            "keys_read": self.keys,
            "findings": self.findings().take(FINDINGS_MAX).collect::<Vec<_>>(),
        });
        format!("{object}\n")
    }

    fn findings(&self) -> impl Iterator<Item = &String> {
        let verdict = &self.verdict;
        verdict.lost.iter().chain(&verdict.phantom).chain(&verdict.disorder)
    }

    /// The result for people.
    pub(super) fn sentences(&self) -> String {
        let verdict = &self.verdict;
        let mut text = format!(
            "\n{} writes of {} clients were acknowledged in {:.1} s, {} per second; half of them \
             within {:.1} ms, 99 % within {:.1} ms.\n",
            verdict.acked,
            self.clients,
            self.took.as_secs_f64(),
            self.writes_per_second(),
            self.percentile_ms(50),
            self.percentile_ms(99),
        );
        // Writing into a string cannot fail.
        if let Some(longest) = self.failovers.iter().max() {
            let all: Vec<String> =
                self.failovers.iter().map(|time| time.as_millis().to_string()).collect();
            _ = writeln!(
                text,
                "The leader was killed {}. Writes went on after {} ms; the longest pause was \
                 {} ms.",
                times(self.failovers.len()),
                all.join(", "),
                longest.as_millis(),
            );
        }
        if !self.changes.is_empty() {
            let all: Vec<String> = self.changes.iter().map(Changed::to_string).collect();
            let longest = self.latencies.last().copied().unwrap_or_default();
            _ = writeln!(
                text,
                "The membership changed {}: {}. The slowest write took {} ms.",
                times(all.len()),
                all.join(", "),
                longest.as_millis(),
            );
        }
        _ = writeln!(
            text,
            "{} writes were cut off with an outcome that no client knows; each may be there or \
             not. {} were refused for certain: no connection, or a lost race for a shared key.",
            verdict.unknown, verdict.not_applied,
        );
        let keys: Vec<String> = self.keys.iter().map(ToString::to_string).collect();
        _ = writeln!(text, "Read back from every member: {} keys.", keys.join(", "));
        if self.is_good() {
            text.push_str(
                "\nNothing that was acknowledged is lost, nothing is there that was not written, \
                 and every revision fits.\n",
            );
            return text;
        }
        _ = writeln!(
            text,
            "\nPROMISES WERE BROKEN: {} acknowledged writes are lost, {} values should not be \
             there, {} orders cannot be.",
            verdict.lost.len(),
            verdict.phantom.len(),
            verdict.disorder.len(),
        );
        for finding in self.findings().take(FINDINGS_MAX) {
            _ = writeln!(text, "  {finding}");
        }
        let more = self.findings().count().saturating_sub(FINDINGS_MAX);
        if more > 0 {
            _ = writeln!(text, "  and {more} more");
        }
        text
    }
}

fn times(count: usize) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

fn millis(duration: Duration) -> f64 {
    // Three digits are more than the scheduler of any system promises.
    (duration.as_secs_f64() * 1_000_000.0).round() / 1000.0
}

/// More examples than this help nobody.
const FINDINGS_MAX: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn report(verdict: Verdict) -> Report {
        Report {
            nodes: 3,
            clients: 2,
            verdict,
            took: Duration::from_secs(2),
            failovers: vec![Duration::from_millis(300), Duration::from_micros(450_500)],
            changes: vec![Changed {
                what: "n4 was added and votes".to_owned(),
                took: Duration::from_millis(700),
            }],
            latencies: (1..=100).map(Duration::from_millis).collect(),
            keys: vec![7, 7, 7],
        }
    }

    /// A good run says so; the numbers are those that were measured.
    #[test]
    fn a_good_result_is_told() {
        let good = report(Verdict { acked: 100, unknown: 3, ..Verdict::default() });
        assert!(good.is_good());
        let value: serde_json::Value = serde_json::from_str(&good.json()).unwrap();
        assert_eq!(value["ok"], true);
        assert_eq!((&value["acked"], &value["unknown"]), (&json!(100), &json!(3)));
        assert_eq!((&value["lost"], &value["phantom"]), (&json!(0), &json!(0)));
        assert_eq!(value["failover_ms"], json!([300.0, 450.5]));
        assert_eq!((&value["kills"], &value["writes_per_second"]), (&json!(2), &json!(50)));
        assert_eq!((&value["p50_ms"], &value["p99_ms"]), (&json!(50.0), &json!(99.0)));
        assert!(good.sentences().contains("Nothing that was acknowledged is lost"));
        assert_eq!(
            value["changes"],
            json!([{ "what": "n4 was added and votes", "took_ms": 700.0 }])
        );
        assert!(good.sentences().contains("changed once: n4 was added and votes (700 ms)."));
        assert!(good.sentences().contains("Writes went on after 300, 450 ms; the longest pause"));
    }

    /// A broken promise is loud, with examples, but not with all of thousands.
    #[test]
    fn a_bad_result_is_loud() {
        let lost: Vec<String> = (0..30).map(|number| format!("write {number} is gone")).collect();
        let bad = report(Verdict { acked: 100, lost, ..Verdict::default() });
        assert!(!bad.is_good());
        let text = bad.sentences();
        assert!(text.contains("PROMISES WERE BROKEN: 30 acknowledged writes are lost"), "{text}");
        assert!(text.contains("  write 0 is gone\n") && text.contains("  and 10 more\n"), "{text}");
        assert!(!text.contains("Nothing that was acknowledged is lost"), "{text}");
        let value: serde_json::Value = serde_json::from_str(&bad.json()).unwrap();
        assert_eq!((&value["ok"], &value["lost"]), (&json!(false), &json!(30)));
    }

    /// A run without any acknowledged write still has a report.
    #[test]
    fn nothing_at_all_is_reported_too() {
        let mut empty = report(Verdict::default());
        empty.latencies.clear();
        empty.failovers.clear();
        assert!(empty.json().contains("\"p99_ms\":0.0"));
        assert!(!empty.sentences().contains("killed"));
    }
}
