//! The judge: compares what clients were told with what members hold.
//!
//! * *Lost*: acknowledged, and not there, or not there with its value.
//! * *Phantom*: there, and never sent, or refused for certain.
//! * *Disorder*: revisions that contradict each other, the order of acknowledgements, or the chain
//!   of compare-and-set writes; a write applied twice.
//!
//! A write of unknown outcome may be there or not. It is pure, so the tests can show that it fires.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::history::{Holdings, Kind, Outcome, Stored, Write};

/// What the judge found. Each list has one sentence per fact.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Acknowledged writes.
    pub(super) acked: usize,
    /// Writes refused for certain, among them lost races of compare-and-set.
    pub(super) not_applied: usize,
    /// Writes whose outcome no client knows.
    pub(super) unknown: usize,
    /// Acknowledged writes that are gone.
    pub(super) lost: Vec<String>,
    /// Values that should not be there.
    pub(super) phantom: Vec<String>,
    /// Orders that cannot be.
    pub(super) disorder: Vec<String>,
}

impl Verdict {
    /// Whether every promise was kept.
    pub(super) fn is_good(&self) -> bool {
        self.lost.is_empty() && self.phantom.is_empty() && self.disorder.is_empty()
    }
}

/// Judges a run.
pub(super) fn judge(history: &[Write], members: &[Holdings]) -> Verdict {
    let mut verdict = Verdict::default();
    for write in history {
        match write.outcome {
            Outcome::Applied { .. } => verdict.acked += 1,
            Outcome::NotApplied => verdict.not_applied += 1,
            Outcome::Unknown => verdict.unknown += 1,
        }
    }
    let mut by_key: BTreeMap<&str, Vec<&Write>> = BTreeMap::new();
    for write in history {
        by_key.entry(&write.key).or_default().push(write);
    }
    let mut lost = BTreeMap::new();
    for holdings in members {
        let found: BTreeMap<&str, &Stored> =
            holdings.keys.iter().map(|stored| (stored.key.as_str(), stored)).collect();
        for stored in &holdings.keys {
            let writes = by_key.get(stored.key.as_str()).map_or(&[][..], Vec::as_slice);
            verdict.phantom.extend(phantom(&holdings.member, stored, writes));
        }
        for (key, writes) in &by_key {
            let stored = found.get(key).copied();
            let place = Place { member: &holdings.member, key, writes, stored };
            place.judge(&mut lost, &mut verdict.disorder);
        }
    }
    verdict.lost = lost.into_values().collect();
    forks(&by_key, &mut verdict.disorder);
    revisions(history, &mut verdict.disorder);
    verdict
}

/// A stored value that no client sent, or whose write was refused.
fn phantom(member: &str, stored: &Stored, writes: &[&Write]) -> Option<String> {
    let Stored { key, value, .. } = stored;
    let mut same = writes.iter().filter(|write| write.value == *value).peekable();
    if same.peek().is_none() {
        return Some(format!("{member} holds {key} = {value}, which nobody sent"));
    }
    same.all(|write| write.outcome == Outcome::NotApplied)
        .then(|| format!("{member} holds {key} = {value}, whose write was refused"))
}

/// One key on one member.
struct Place<'a> {
    member: &'a str,
    key: &'a str,
    writes: &'a [&'a Write],
    stored: Option<&'a Stored>,
}

impl<'a> Place<'a> {
    /// Adds lost writes by their value, so that one missing on three members counts once.
    fn judge(&self, lost: &mut BTreeMap<&'a str, String>, disorder: &mut Vec<String>) {
        let mut applied: Vec<(i64, &'a Write)> = self
            .writes
            .iter()
            .filter_map(|write| match write.outcome {
                Outcome::Applied { revision } => Some((revision, *write)),
                Outcome::NotApplied | Outcome::Unknown => None,
            })
            .collect();
        applied.sort_by_key(|(revision, _)| *revision);
        let Self { member, key, .. } = self;
        if let Some((revision, last)) = applied.last() {
            let value = &last.value;
            let is_lost = match self.stored {
                None => Some("nothing".to_owned()),
                Some(stored) if stored.mod_revision < *revision || self.is_other(stored, value) => {
                    Some(format!("{} of revision {}", stored.value, stored.mod_revision))
                }
                Some(_) => None,
            };
            if let Some(found) = is_lost {
                let text = format!(
                    "{member} holds {found} at {key}, but {value} was acknowledged at revision \
                     {revision}"
                );
                lost.entry(value).or_insert(text);
                return;
            }
        }
        let Some(stored) = self.stored else { return };
        let of_value = applied.iter().find(|(_, write)| write.value == stored.value);
        if let Some((revision, _)) =
            of_value.filter(|(revision, _)| *revision != stored.mod_revision)
        {
            disorder.push(format!(
                "{member} holds {key} at revision {}, but it was acknowledged at {revision}",
                stored.mod_revision
            ));
        }
        self.count(applied.len(), stored, disorder);
    }

    /// Whether a stored value stands where an acknowledged one should: at its revision, or, for a
    /// key written once, at all.
    fn is_other(&self, stored: &Stored, value: &str) -> bool {
        let newest = self.writes.iter().filter_map(|write| match write.outcome {
            Outcome::Applied { revision } => Some(revision),
            Outcome::NotApplied | Outcome::Unknown => None,
        });
        let is_swapped = self.writes.iter().any(|write| matches!(write.kind, Kind::Swap { .. }));
        let is_last = newest.max() == Some(stored.mod_revision);
        stored.value != value && (is_last || !is_swapped)
    }

    /// A key's version counts its writes: at least the acknowledged ones, at most those too whose
    /// outcome is unknown.
    fn count(&self, applied: usize, stored: &Stored, disorder: &mut Vec<String>) {
        let unknown = self.writes.iter().filter(|write| write.outcome == Outcome::Unknown).count();
        let version = usize::try_from(stored.version).unwrap_or(0);
        let Self { member, key, .. } = self;
        if version < applied {
            disorder.push(format!(
                "{member} counts {version} writes to {key}, but {applied} were acknowledged"
            ));
        }
        if version > applied + unknown {
            disorder.push(format!(
                "{member} counts {version} writes to {key}, but at most {} were made",
                applied + unknown
            ));
        }
    }
}

/// Two acknowledged writes that both replaced the same one: an update was lost between them.
fn forks(by_key: &BTreeMap<&str, Vec<&Write>>, disorder: &mut Vec<String>) {
    for (key, writes) in by_key {
        let mut replaced: BTreeMap<i64, &Write> = BTreeMap::new();
        for write in writes {
            let (Kind::Swap { over }, Outcome::Applied { revision }) = (write.kind, write.outcome)
            else {
                continue;
            };
            if revision <= over {
                disorder.push(format!("{key}: revision {revision} replaced the later {over}"));
            }
            if let Some(other) = replaced.insert(over, write) {
                disorder.push(format!(
                    "{key}: both {} and {} replaced revision {over}",
                    other.value, write.value
                ));
            }
        }
    }
}

/// Revisions are unique, grow with each client's own acknowledgements, and respect real time: what
/// was acknowledged before another write was sent has the smaller revision.
fn revisions(history: &[Write], disorder: &mut Vec<String>) {
    let mut applied: Vec<(i64, &Write)> = history
        .iter()
        .filter_map(|write| match write.outcome {
            Outcome::Applied { revision } => Some((revision, write)),
            Outcome::NotApplied | Outcome::Unknown => None,
        })
        .collect();
    let mut latest: BTreeMap<u32, i64> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for (revision, write) in &applied {
        if !seen.insert(*revision) {
            disorder.push(format!("revision {revision} was acknowledged twice"));
        }
        if let Some(before) = latest.insert(write.client, *revision)
            && before > *revision
        {
            disorder.push(format!(
                "client {} was told revision {revision} after {before}",
                write.client
            ));
        }
    }
    applied.sort_by_key(|(revision, _)| *revision);
    let mut earliest_answer = Duration::MAX;
    for (revision, write) in applied.iter().rev() {
        if earliest_answer < write.sent {
            disorder.push(format!(
                "{} was sent after a later revision than its own, {revision}, was acknowledged",
                write.value
            ));
        }
        earliest_answer = earliest_answer.min(write.answered);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run of two clients: three puts, one of unknown outcome, one refused; a key swapped twice.
    fn story() -> (Vec<Write>, Vec<Holdings>) {
        let history = vec![
            write(1, "a", "a1", Kind::Put, (0, 1), applied(2)),
            write(2, "b", "b1", Kind::Put, (1, 2), applied(3)),
            write(1, "c", "c1", Kind::Put, (2, 3), Outcome::Unknown),
            write(2, "d", "d1", Kind::Put, (2, 3), Outcome::NotApplied),
            write(1, "r", "r1", Kind::Swap { over: 0 }, (4, 5), applied(4)),
            write(2, "r", "r2", Kind::Swap { over: 4 }, (6, 7), applied(5)),
            write(1, "r", "r3", Kind::Swap { over: 4 }, (6, 8), Outcome::NotApplied),
        ];
        let keys = vec![stored("a", "a1", 2, 1), stored("b", "b1", 3, 1), stored("r", "r2", 5, 2)];
        let holdings = |name: &str| Holdings { member: name.into(), keys: keys.clone() };
        (history, vec![holdings("n1"), holdings("n2")])
    }

    fn applied(revision: i64) -> Outcome {
        Outcome::Applied { revision }
    }

    fn write(
        client: u32,
        key: &str,
        value: &str,
        kind: Kind,
        (sent, answered): (u64, u64),
        outcome: Outcome,
    ) -> Write {
        let (sent, answered) = (Duration::from_secs(sent), Duration::from_secs(answered));
        let (key, value) = (key.to_owned(), value.to_owned());
        Write { client, key, value, kind, sent, answered, outcome }
    }

    fn stored(key: &str, value: &str, mod_revision: i64, version: i64) -> Stored {
        Stored { key: key.into(), value: value.into(), mod_revision, version }
    }

    /// Runs the story with a change, and gives what the judge says.
    fn judged(change: impl FnOnce(&mut Vec<Write>, &mut Vec<Holdings>)) -> Verdict {
        let (mut history, mut members) = story();
        change(&mut history, &mut members);
        judge(&history, &members)
    }

    /// A run in which every promise was kept is good, and counted right.
    #[test]
    fn a_good_run_is_good() {
        let verdict = judged(|_, _| {});
        assert!(verdict.is_good(), "{verdict:?}");
        assert_eq!((verdict.acked, verdict.not_applied, verdict.unknown), (4, 2, 1));
    }

    /// A write of unknown outcome may be there, on one member and not yet on another.
    #[test]
    fn an_unknown_write_may_be_there() {
        let verdict = judged(|_, members| members[0].keys.push(stored("c", "c1", 6, 1)));
        assert!(verdict.is_good(), "{verdict:?}");
        let verdict = judged(|history, members| {
            history[6].outcome = Outcome::Unknown;
            members[0].keys[2] = stored("r", "r3", 6, 3);
        });
        assert!(verdict.is_good(), "{verdict:?}");
    }

    /// An acknowledged write that is missing on one member is lost, once.
    #[test]
    fn a_missing_write_is_lost() {
        let verdict = judged(|_, members| {
            members[0].keys.remove(0);
            members[1].keys.remove(0);
        });
        assert_eq!(verdict.lost, ["n1 holds nothing at a, but a1 was acknowledged at revision 2"]);
        assert!(verdict.phantom.is_empty());
        let verdict = judged(|_, members| drop(members[1].keys.remove(2)));
        assert_eq!(verdict.lost, ["n2 holds nothing at r, but r2 was acknowledged at revision 5"]);
    }

    /// An acknowledged value that gave way to an older one, or to another, is lost.
    #[test]
    fn a_value_that_went_back_is_lost() {
        let verdict = judged(|_, members| members[0].keys[2] = stored("r", "r1", 4, 1));
        assert_eq!(
            verdict.lost,
            ["n1 holds r1 of revision 4 at r, but r2 was acknowledged at revision 5"]
        );
        let verdict = judged(|_, members| members[0].keys[0] = stored("a", "a9", 9, 1));
        assert_eq!(verdict.lost.len(), 1, "{verdict:?}");
        assert_eq!(verdict.phantom, ["n1 holds a = a9, which nobody sent"]);
    }

    /// What nobody sent, and what was refused, is a phantom.
    #[test]
    fn what_should_not_be_there_is_a_phantom() {
        let verdict = judged(|_, members| members[0].keys.push(stored("x", "x1", 6, 1)));
        assert_eq!(verdict.phantom, ["n1 holds x = x1, which nobody sent"]);
        let verdict = judged(|_, members| members[1].keys.push(stored("d", "d1", 6, 1)));
        assert_eq!(verdict.phantom, ["n2 holds d = d1, whose write was refused"]);
        let verdict = judged(|_, members| members[1].keys[2] = stored("r", "r3", 6, 3));
        assert_eq!(verdict.phantom, ["n2 holds r = r3, whose write was refused"]);
        assert!(!verdict.is_good());
    }

    /// A key that was written twice by one write, or at another revision, is noticed.
    #[test]
    fn a_write_applied_twice_is_disorder() {
        let verdict = judged(|_, members| members[0].keys[0] = stored("a", "a1", 2, 2));
        assert_eq!(verdict.disorder, ["n1 counts 2 writes to a, but at most 1 were made"]);
        let verdict = judged(|_, members| members[0].keys[0] = stored("a", "a1", 6, 1));
        assert_eq!(verdict.disorder, ["n1 holds a at revision 6, but it was acknowledged at 2"]);
        let verdict = judged(|_, members| members[0].keys[2] = stored("r", "r2", 5, 1));
        assert_eq!(verdict.disorder, ["n1 counts 1 writes to r, but 2 were acknowledged"]);
    }

    /// Two winners over the same value mean that one update was lost.
    #[test]
    fn two_winners_of_one_race_are_disorder() {
        let verdict = judged(|history, _| history[6].outcome = applied(6));
        assert!(
            verdict.disorder.contains(&"r: both r2 and r3 replaced revision 4".to_owned()),
            "{verdict:?}"
        );
        let verdict = judged(|history, _| history[5].kind = Kind::Swap { over: 8 });
        assert_eq!(verdict.disorder, ["r: revision 5 replaced the later 8"]);
    }

    /// Revisions given twice, falling for one client, or against real time are noticed.
    #[test]
    fn impossible_revisions_are_disorder() {
        let verdict = judged(|history, members| {
            history[1].outcome = applied(2);
            members.clear();
        });
        assert_eq!(verdict.disorder, ["revision 2 was acknowledged twice"]);

        let verdict = judged(|history, members| {
            history[0].outcome = applied(9);
            members.clear();
        });
        let says = |text: &str| verdict.disorder.iter().any(|sentence| sentence == text);
        assert!(says("client 1 was told revision 4 after 9"), "{verdict:?}");
        assert!(
            says("r1 was sent after a later revision than its own, 4, was acknowledged"),
            "{verdict:?}"
        );
    }
}
