//! What the disk of a node surely holds, as the oracle knows it.

use std::fmt;

use raft_core::codec::decode_membership;
use raft_core::{
    Base, Entry, HardState, Incarnation, Index, Membership, PayloadKind, Persist, Restored,
    SnapshotMeta, Term,
};

/// Term, vote and log on a disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Image {
    pub(crate) hard: HardState,
    /// The terms of the entries, from the first on: also of those that only a snapshot holds.
    pub(crate) log: Vec<Term>,
    /// The last entry that left the log.
    pub(crate) base: Index,
    /// The last entry that a snapshot covers.
    pub(crate) covered: Index,
    /// The memberships that the log brought, ascending.
    pub(crate) members: Vec<Membership>,
    /// Whose promises these are.
    pub(crate) incarnation: Option<Incarnation>,
    is_created: bool,
}

/// The commit hint is no promise: a disk may have an older one.
impl PartialEq for Image {
    fn eq(&self, other: &Self) -> bool {
        let vote = |image: &Self| (image.hard.term, image.hard.voted_for);
        let begins = |image: &Self| (image.base, image.covered);
        let is_created = |image: &Self| image.is_created || image.covered > Index::ZERO;
        vote(self) == vote(other)
            && begins(self) == begins(other)
            && is_created(self) == is_created(other)
            && self.members.last() == other.members.last()
            && self.log == other.log
    }
}

/// What a write changes.
#[derive(Clone, Debug)]
pub(crate) struct WriteFacts {
    hard: HardState,
    base: Option<Base>,
    first: Index,
    terms: Vec<Term>,
    pub(crate) memberships: Vec<Membership>,
}

impl WriteFacts {
    pub(crate) fn of(persist: &Persist) -> Self {
        let entries = persist.entries();
        Self {
            hard: persist.hard_state(),
            base: persist.base().cloned(),
            first: entries.first().map_or(Index::ZERO, |entry| entry.id.index),
            terms: entries.iter().map(|entry| entry.id.term).collect(),
            memberships: entries.iter().filter_map(membership).collect(),
        }
    }

    /// Whether it replaces entries of a log of this length.
    pub(crate) fn truncates(&self, len: usize) -> bool {
        !self.terms.is_empty() && self.first.get() <= len as u64
    }

    /// The snapshot with which the log begins from now on.
    pub(crate) fn snapshot(&self) -> Option<&SnapshotMeta> {
        match &self.base {
            Some(Base::Compacted { snapshot, .. } | Base::Installed(snapshot)) => Some(snapshot),
            Some(Base::Created(_)) | None => None,
        }
    }

    /// In the notation of scripts: `term=4 vote=n2 10@4 11@4`.
    pub(crate) fn describe(&self) -> String {
        let vote = self.hard.voted_for.map(|vote| format!("vote={vote}"));
        let base = self.base.as_ref().map(|base| match base {
            Base::Created(_) => "members".to_owned(),
            Base::Compacted { snapshot, upto } => {
                format!("snapshot={} begins after {upto}", snapshot.last_included)
            }
            Base::Installed(snapshot) => format!("installed {}", snapshot.last_included),
        });
        let entries = self.terms.iter().enumerate();
        let entries = entries.map(|(i, term)| format!("{}@{term}", self.first.plus(i as u64)));
        let parts = [format!("term={}", self.hard.term)].into_iter().chain(vote);
        parts.chain(base).chain(entries).collect::<Vec<_>>().join(" ")
    }
}

/// The membership that an entry brings.
pub(super) fn membership(entry: &Entry) -> Option<Membership> {
    let brings = entry.payload.kind() == PayloadKind::Membership;
    let bytes = brings.then(|| entry.payload.bytes().clone())?;
    Some(decode_membership(bytes).ok()?.brought_by(entry.id))
}

impl Image {
    /// `committed` are the terms of the committed log: what a snapshot stands for.
    pub(super) fn write(&mut self, facts: &WriteFacts, committed: &[Term]) {
        self.hard = facts.hard;
        match &facts.base {
            None => {}
            Some(Base::Created(first)) => {
                self.is_created = true;
                self.members = vec![first.clone()];
            }
            Some(Base::Compacted { snapshot, upto }) => {
                (self.base, self.covered) = (upto.index, snapshot.last_included.index);
            }
            Some(Base::Installed(snapshot)) => {
                let covered = snapshot.last_included.index;
                (self.base, self.covered) = (covered, covered);
                self.log = committed[..place(covered).min(committed.len())].to_vec();
                self.members = vec![snapshot.membership.clone()];
            }
        }
        if let Some(before) = facts.first.get().checked_sub(1).filter(|_| !facts.terms.is_empty()) {
            self.log.truncate(place(Index::new(before)));
            self.log.extend_from_slice(&facts.terms);
            self.members.retain(|brought| brought.id().index.get() <= before);
            self.members.extend(facts.memberships.iter().cloned());
        }
    }

    pub(super) fn restored(restored: &Restored, committed: &[Term]) -> Self {
        let base = restored.base.index;
        let mut log = committed[..place(base).min(committed.len())].to_vec();
        let ends = restored.terms.iter().skip(1).map(|(first, _)| first.get());
        let ends = ends.chain([restored.last.index.get() + 1]);
        for ((first, term), end) in restored.terms.iter().zip(ends) {
            log.extend((first.get()..end).map(|_| *term));
        }
        let snapshot = restored.snapshot.as_ref();
        let first = snapshot.map(|snapshot| snapshot.membership.clone());
        let mut members: Vec<_> = first.or_else(|| restored.created.clone()).into_iter().collect();
        members.extend(restored.memberships.iter().cloned());
        Self {
            hard: restored.hard_state,
            log,
            base,
            covered: restored.covered().index,
            members,
            incarnation: None,
            is_created: restored.created.is_some(),
        }
    }

    /// The membership in force.
    pub(crate) fn membership(&self) -> Option<&Membership> {
        self.members.last()
    }

    /// Whether it holds the entry of this term at this index.
    pub(crate) fn holds(&self, index: Index, term: Term) -> bool {
        self.log.get(place(index) - 1) == Some(&term)
    }
}

fn place(index: Index) -> usize {
    usize::try_from(index.get()).expect("the log of a world fits into memory")
}

/// Term, vote, and the log as runs of terms: `term 4 vote n2 log 1..9@1 10..11@4`.
impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "term {}", self.hard.term)?;
        if let Some(vote) = self.hard.voted_for {
            write!(f, " vote {vote}")?;
        }
        match self.membership() {
            None => f.write_str(" without members")?,
            Some(membership) => write!(f, " {membership} by {}", membership.id())?,
        }
        if self.covered > Index::ZERO {
            write!(f, " snapshot {} begins after {}", self.covered, self.base)?;
        }
        f.write_str(" log")?;
        let mut at = 0;
        while let Some(term) = self.log.get(at) {
            let run = self.log[at..].iter().take_while(|other| *other == term).count();
            write!(f, " {}..{}@{term}", at + 1, at + run)?;
            at += run;
        }
        if at == 0 {
            f.write_str(" empty")?;
        }
        Ok(())
    }
}
