//! Answers about logs on a disk.

use std::path::PathBuf;

use raft_core::{GroupId, NodeId, Restored};
use raft_storage::inspect::Inspection;
use serde_json::{Value, json};

use crate::json::Object;
use crate::output::{Answer, Fields, Table, line, number, text};

/// A data directory that was looked into.
#[derive(Debug)]
pub(crate) struct Inspected {
    pub(crate) directory: PathBuf,
    pub(crate) found: Inspection,
}

impl Inspected {
    /// What is told of the whole directory, with names for people.
    fn facts(&self) -> [(&'static str, String); 8] {
        let (found, report) = (&self.found, &self.found.report);
        let torn = report.torn.as_ref().map_or_else(
            || "none".to_owned(),
            |torn| format!("batch {} at byte {} of {}", torn.lsn, torn.offset, torn.path.display()),
        );
        [
            ("owner", found.identity.to_string()),
            ("sync mode", found.sync_mode.name().to_owned()),
            ("closed", found.was_closed.to_string()),
            ("segments", report.segments.to_string()),
            ("batches", report.batches.to_string()),
            ("records", report.records.to_string()),
            ("bytes", report.bytes.to_string()),
            ("cut short", torn),
        ]
    }
}

/// First and last entry, term, vote, commit hint and snapshot of a group.
fn row(group: GroupId, log: &Restored) -> [String; 7] {
    let (hard, snapshot) = (log.hard_state, log.snapshot.as_ref());
    [
        group.to_string(),
        log.base.index.next().to_string(),
        log.last.to_string(),
        hard.term.to_string(),
        hard.voted_for.map_or_else(|| "none".to_owned(), |vote| vote.to_string()),
        hard.commit.to_string(),
        snapshot.map_or_else(|| "none".to_owned(), |meta| meta.last_included.to_string()),
    ]
}

impl Answer for Inspected {
    fn simple(&self, out: &mut Vec<u8>) {
        let torn = if self.found.report.torn.is_some() { "torn" } else { "clean" };
        line(out, format!("{}: {torn}", self.directory.display()));
        for (name, value) in self.facts() {
            line(out, format!("{name}: {value}"));
        }
        for (group, log) in &self.found.groups {
            let [group, first, last, term, vote, commit, snapshot] = row(*group, log);
            line(
                out,
                format!(
                    "group {group}: entries {first} to {last}, term {term}, vote {vote}, commit \
                     {commit}, snapshot {snapshot}"
                ),
            );
        }
    }

    fn json(&self) -> Value {
        let (found, report) = (&self.found, &self.found.report);
        let torn = report.torn.as_ref().map(|torn| {
            json!({
                "path": torn.path.display().to_string(), "offset": torn.offset, "lsn": torn.lsn,
            })
        });
        let group = |(group, log): (&GroupId, &Restored)| {
            json!({
                "group": group.get(), "first": log.base.index.next().get(),
                "last": log.last.index.get(), "lastTerm": log.last.term.get(),
                "term": log.hard_state.term.get(),
                "vote": log.hard_state.voted_for.map(NodeId::get),
                "commit": log.hard_state.commit.get(),
                "snapshot": log.snapshot.as_ref().map(|meta| meta.last_included.index.get()),
            })
        };
        Object::new()
            .with_always("directory", self.directory.display().to_string())
            .with_always("verdict", if torn.is_some() { "torn" } else { "clean" })
            .with_always("owner", found.identity.to_string())
            .with_always("syncMode", found.sync_mode.name())
            .with_always("closed", found.was_closed)
            .with_always("durableLsn", found.durable_lsn)
            .with_always("segments", report.segments)
            .with_always("batches", report.batches)
            .with_always("records", report.records)
            .with_always("bytes", report.bytes)
            .with_always("torn", torn)
            .with_always("groups", found.groups.iter().map(group).collect::<Vec<_>>())
            .done()
    }

    fn fields(&self, out: &mut Fields) {
        for (name, value) in self.facts() {
            out.text(name, value);
        }
        for (group, log) in &self.found.groups {
            out.gap();
            let names = ["group", "first", "last", "term", "vote", "commit", "snapshot"];
            for (name, value) in names.into_iter().zip(row(*group, log)) {
                out.text(name, value);
            }
        }
    }

    fn tables(&self) -> Vec<Table> {
        let mut facts = Table::new(&[text("FACT"), text("VALUE")]);
        for (name, value) in self.facts() {
            facts.row(vec![name.to_owned(), value]);
        }
        let numbers = ["GROUP", "FIRST", "LAST", "TERM", "VOTE", "COMMIT", "SNAPSHOT"].map(number);
        let mut groups = Table::new(&numbers);
        for (group, log) in &self.found.groups {
            groups.row(row(*group, log).to_vec());
        }
        vec![facts, groups]
    }
}
