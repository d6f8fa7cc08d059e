//! What the disk of a node surely holds, as the oracle knows it.

use std::fmt;

use raft_core::{HardState, Index, Persist, Restored, Term};

/// Term, vote and log on a disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Image {
    pub(crate) hard: HardState,
    /// The terms of the entries, from the first on.
    pub(crate) log: Vec<Term>,
    is_created: bool,
}

/// The commit hint is no promise: a disk may have an older one.
impl PartialEq for Image {
    fn eq(&self, other: &Self) -> bool {
        let vote = |image: &Self| (image.hard.term, image.hard.voted_for, image.is_created);
        vote(self) == vote(other) && self.log == other.log
    }
}

/// What a write changes.
#[derive(Clone, Debug)]
pub(crate) struct WriteFacts {
    hard: HardState,
    creates: bool,
    first: Index,
    terms: Vec<Term>,
}

impl WriteFacts {
    pub(crate) fn of(persist: &Persist) -> Self {
        let entries = persist.entries();
        Self {
            hard: persist.hard_state(),
            creates: persist.base().is_some(),
            first: entries.first().map_or(Index::ZERO, |entry| entry.id.index),
            terms: entries.iter().map(|entry| entry.id.term).collect(),
        }
    }

    /// Whether it replaces entries of a log of this length.
    pub(crate) fn truncates(&self, len: usize) -> bool {
        !self.terms.is_empty() && self.first.get() <= len as u64
    }

    /// In the notation of scripts: `term=4 vote=n2 10@4 11@4`.
    pub(crate) fn describe(&self) -> String {
        let vote = self.hard.voted_for.map(|vote| format!("vote={vote}"));
        let entries = self.terms.iter().enumerate();
        let entries = entries.map(|(i, term)| format!("{}@{term}", self.first.plus(i as u64)));
        let parts = [format!("term={}", self.hard.term)].into_iter().chain(vote).chain(entries);
        parts.collect::<Vec<_>>().join(" ")
    }
}

impl Image {
    pub(super) fn write(&mut self, facts: &WriteFacts) {
        self.hard = facts.hard;
        self.is_created |= facts.creates;
        if let Some(before) = facts.first.get().checked_sub(1).filter(|_| !facts.terms.is_empty()) {
            self.log.truncate(usize::try_from(before).expect("fits into memory"));
            self.log.extend_from_slice(&facts.terms);
        }
    }

    pub(super) fn restored(restored: &Restored) -> Self {
        let mut log = Vec::new();
        let ends = restored.terms.iter().skip(1).map(|(first, _)| first.get());
        let ends = ends.chain([restored.last.index.get() + 1]);
        for ((first, term), end) in restored.terms.iter().zip(ends) {
            log.extend((first.get()..end).map(|_| *term));
        }
        Self { hard: restored.hard_state, log, is_created: restored.created.is_some() }
    }
}

/// Term, vote, and the log as runs of terms: `term 4 vote n2 log 1..9@1 10..11@4`.
impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "term {}", self.hard.term)?;
        if let Some(vote) = self.hard.voted_for {
            write!(f, " vote {vote}")?;
        }
        if !self.is_created {
            f.write_str(" without members")?;
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
