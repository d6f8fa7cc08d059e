//! What must be true of the store after clients were told what they were told.
//!
//! * An acknowledged write is there, with its value, at its revision.
//! * A refused write is not there; of an unknown one both may be true.
//! * Nothing is there that was not written, and nothing was written twice.
//! * A write that was answered before another began has the lower revision.
//!
//! The judge has tests of its own: one that never finds anything proves nothing.

use std::collections::BTreeMap;

use raft_api::etcdserverpb::RangeResponse;
use raft_api::mvccpb::KeyValue;

use crate::client::{Client, Failure};
use crate::load::{Outcome, Write};

/// All writes of a load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// What all keys begin with.
    pub prefix: String,
    /// Every write, in no particular order.
    pub writes: Vec<Write>,
}

/// How often what was found, when nothing was wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Acknowledged writes, all of them there.
    pub acknowledged: usize,
    /// Refused writes, none of them there.
    pub refused: usize,
    /// Writes of unknown outcome that are there.
    pub executed: usize,
    /// Writes of unknown outcome that are not there.
    pub vanished: usize,
}

impl History {
    /// Reads everything linearizably through one member and judges it.
    pub async fn check(&self, client: &Client) -> Verdict {
        let found = client.read_all(&self.prefix, false).await;
        self.check_answer(&found.unwrap_or_else(|status| panic!("reading all: {status}")))
    }

    /// Judges what a member answered.
    pub fn check_answer(&self, answer: &RangeResponse) -> Verdict {
        let revision = answer.header.map_or(0, |header| header.revision);
        let verdict = self.judge(&answer.kvs, revision);
        verdict.unwrap_or_else(|violations| {
            let first: Vec<&String> = violations.iter().take(20).collect();
            panic!("{} promises were broken: {first:#?}", violations.len())
        })
    }

    /// The highest revision that a client was told.
    pub fn revision_max(&self) -> i64 {
        let revisions = self.writes.iter().map(|write| match write.outcome {
            Outcome::Acknowledged(revision) => revision,
            Outcome::Refused(_) | Outcome::Unknown(_) => 0,
        });
        revisions.max().unwrap_or(0)
    }

    /// Compares what is found with what clients were told; every broken promise is a sentence.
    ///
    /// # Errors
    ///
    /// The broken promises.
    pub fn judge(&self, found: &[KeyValue], revision: i64) -> Result<Verdict, Vec<String>> {
        let mut found: BTreeMap<&[u8], &KeyValue> =
            found.iter().map(|kv| (kv.key.as_ref(), kv)).collect();
        let mut violations = self.disorder();
        if self.revision_max() > revision {
            let told = self.revision_max();
            violations
                .push(format!("a client was told revision {told}, the store is at {revision}"));
        }
        let mut verdict = Verdict::default();
        for write in &self.writes {
            let kv = found.remove(write.key.as_bytes());
            if let Some(kv) = kv {
                violations.extend(wrong(write, kv));
            }
            match (&write.outcome, kv.is_some()) {
                (Outcome::Acknowledged(_), true) => verdict.acknowledged += 1,
                (Outcome::Acknowledged(at), false) => {
                    violations.push(format!("{} was acknowledged at {at} and is lost", write.key));
                }
                (Outcome::Refused(_), false) => verdict.refused += 1,
                (Outcome::Refused(failure), true) => {
                    violations.push(format!("{} is there, but refused: {failure}", write.key));
                }
                (Outcome::Unknown(Failure::Strange(text)), _) => {
                    violations.push(format!("{}: no client knows the error {text}", write.key));
                }
                (Outcome::Unknown(_), true) => verdict.executed += 1,
                (Outcome::Unknown(_), false) => verdict.vanished += 1,
            }
        }
        let phantoms = found.keys().map(|key| String::from_utf8_lossy(key).into_owned());
        violations.extend(phantoms.map(|key| format!("{key} was never written")));
        if violations.is_empty() { Ok(verdict) } else { Err(violations) }
    }

    /// Writes whose revisions contradict the order in which they happened.
    fn disorder(&self) -> Vec<String> {
        let mut by_revision: BTreeMap<i64, &Write> = BTreeMap::new();
        let mut violations = Vec::new();
        for write in &self.writes {
            let Outcome::Acknowledged(revision) = write.outcome else { continue };
            if let Some(other) = by_revision.insert(revision, write) {
                let (one, other) = (&write.key, &other.key);
                violations.push(format!("{one} and {other} were both told revision {revision}"));
            }
        }
        let mut last_to_begin: Option<&Write> = None;
        for (revision, write) in by_revision {
            if let Some(earlier) = last_to_begin.filter(|earlier| write.ended < earlier.began) {
                violations.push(format!(
                    "{} was answered before {} began, but has the higher revision {revision}",
                    write.key, earlier.key
                ));
            }
            if last_to_begin.is_none_or(|earlier| earlier.began < write.began) {
                last_to_begin = Some(write);
            }
        }
        violations
    }
}

/// What is wrong with the key of a write.
fn wrong(write: &Write, kv: &KeyValue) -> Option<String> {
    let key = &write.key;
    if kv.value != write.value.as_bytes() {
        return Some(format!("{key} has another value than was written"));
    }
    if kv.version != 1 {
        return Some(format!("{key} was written once, but {} times executed", kv.version));
    }
    match write.outcome {
        Outcome::Acknowledged(revision) if revision != kv.mod_revision => Some(format!(
            "{key} was acknowledged at {revision}, but was executed at {}",
            kv.mod_revision
        )),
        Outcome::Acknowledged(_) | Outcome::Refused(_) | Outcome::Unknown(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use raft_api::EtcdError;

    use super::*;

    /// Three writes one after the other: acknowledged at revision 2, refused, unknown.
    fn history() -> History {
        let outcomes = [
            Outcome::Acknowledged(2),
            Outcome::Refused(Failure::Etcd(EtcdError::NoLeader)),
            Outcome::Unknown(Failure::Connection("reset".to_owned())),
        ];
        let write = |(began, outcome)| Write {
            key: format!("k{began}"),
            value: format!("v{began}"),
            began,
            ended: began + 1,
            outcome,
        };
        let writes = (0..).step_by(10).zip(outcomes).map(write).collect();
        History { prefix: "k".to_owned(), writes }
    }

    fn kv(number: u64, mod_revision: i64) -> KeyValue {
        let (key, value) = (format!("k{number}").into(), format!("v{number}").into());
        KeyValue { key, value, mod_revision, version: 1, ..KeyValue::default() }
    }

    fn violation(history: &History, found: &[KeyValue], revision: i64) -> String {
        let violations = history.judge(found, revision).unwrap_err();
        assert_eq!(violations.len(), 1, "{violations:?}");
        violations[0].clone()
    }

    /// What was acknowledged must be there; what is unknown may be there or not.
    #[test]
    fn a_store_that_keeps_its_promises_is_believed() {
        let there = history().judge(&[kv(0, 2), kv(20, 3)], 3).unwrap();
        let expected = Verdict { acknowledged: 1, refused: 1, executed: 1, vanished: 0 };
        assert_eq!(there, expected);
        let not_there = history().judge(&[kv(0, 2)], 2).unwrap();
        assert_eq!((not_there.executed, not_there.vanished), (0, 1));
    }

    /// Each way of breaking a promise is found and named.
    #[test]
    fn every_broken_promise_is_found() {
        let found = |found: &[KeyValue], revision| violation(&history(), found, revision);
        assert_eq!(found(&[], 2), "k0 was acknowledged at 2 and is lost");
        assert!(found(&[kv(0, 2), kv(10, 3)], 3).starts_with("k10 is there, but refused"));
        assert_eq!(found(&[kv(0, 2), kv(99, 3)], 3), "k99 was never written");
        assert_eq!(found(&[kv(0, 3)], 3), "k0 was acknowledged at 2, but was executed at 3");
        assert_eq!(found(&[kv(0, 2)], 1), "a client was told revision 2, the store is at 1");
        let twice = KeyValue { version: 2, ..kv(0, 2) };
        assert_eq!(found(&[twice], 2), "k0 was written once, but 2 times executed");
        let changed = KeyValue { value: "other".into(), ..kv(0, 2) };
        assert_eq!(found(&[changed], 2), "k0 has another value than was written");
    }

    /// Two writes one after the other with revisions the other way round, or with the same one.
    #[test]
    fn revisions_that_contradict_time_are_found() {
        let mut history = history();
        history.writes.truncate(2);
        history.writes[0].outcome = Outcome::Acknowledged(3);
        history.writes[1].outcome = Outcome::Acknowledged(2);
        assert_eq!(
            violation(&history, &[kv(0, 3), kv(10, 2)], 3),
            "k0 was answered before k10 began, but has the higher revision 3"
        );
        history.writes[1].outcome = Outcome::Acknowledged(3);
        assert_eq!(
            violation(&history, &[kv(0, 3), kv(10, 3)], 3),
            "k10 and k0 were both told revision 3"
        );
        // While both were under way, any order is right.
        history.writes[1].outcome = Outcome::Acknowledged(2);
        history.writes[1].began = 0;
        assert!(history.judge(&[kv(0, 3), kv(10, 2)], 3).is_ok());
    }

    /// An error that no client of etcd understands is a fault of the server.
    #[test]
    fn a_strange_error_is_found() {
        let mut history = history();
        history.writes[2].outcome = Outcome::Unknown(Failure::Strange("oops".to_owned()));
        assert!(violation(&history, &[kv(0, 2)], 2).contains("no client knows the error oops"));
    }
}
