//! Conformance kits: the laws of our traits, for those who implement them.
//!
//! A law is a function named after what it shows. A kit runs all of its laws, each on disks of its
//! own, and says which are kept, which are broken and how, and which could not be asked, because a
//! subject lacks what it takes: those do not count as kept.
//!
//! | trait | kit |
//! |---|---|
//! | [`Disk`](raft_storage::disk::Disk) | [`disk`] |
//! | [`Storage`](raft_storage::Storage) | [`storage`], on top of `raft_storage::contract` |
//! | `Transport` | `raft_net::contract`, as this crate does not know `raft-net` |
//!
//! ```
//! use std::sync::Arc;
//!
//! use raft_sim::kit::disk::{Simulated, check};
//!
//! // A disk that stands on another one; here it adds nothing.
//! let report = check(&mut Simulated::wrapped(|disk| Arc::new(disk)));
//! assert!(report.not_run.is_empty(), "{report}");
//! ```
//!
//! # Weight
//!
//! The kits are behind the feature `kit`, which is off by default: who simulates does not compile
//! them. It needs no other crate, and turns on the feature `contract` of `raft-storage`, whose
//! suite is a part of the kit for storages. Whoever only wants the kits goes without the command
//! line: `raft-sim = { default-features = false, features = ["kit"] }`, as a dev-dependency.
//!
//! Read next: `kit/disk.rs`, then `kit/storage.rs`.

pub mod disk;
pub mod storage;

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What became of the laws.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "a law that was not run is not a law that is kept"]
pub struct Report {
    /// The names of the laws that are kept.
    pub kept: Vec<&'static str>,
    /// The names of the laws that could not be asked, each with the reason the subject gave.
    pub not_run: Vec<(&'static str, &'static str)>,
    /// The names of the laws that are broken, each with how.
    pub broken: Vec<(&'static str, String)>,
}

/// Why a subject cannot do what a law needs. The laws that need it are reported as not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lacks(pub &'static str);

impl Report {
    /// Whether this law is broken.
    pub fn breaks(&self, law: &str) -> bool {
        self.broken.iter().any(|(name, _)| *name == law)
    }

    /// Asks a law.
    fn ask(&mut self, law: &'static str, run: impl FnOnce() -> Verdict) {
        let verdict = catch_unwind(AssertUnwindSafe(run));
        match verdict.unwrap_or_else(|panic| Err(broken(panicked(&*panic)))) {
            Ok(()) => self.kept.push(law),
            Err(Finding::NotRun(reason)) => self.not_run.push((law, reason)),
            Err(Finding::Broken(how)) => self.broken.push((law, how)),
        }
    }

    /// Panics unless no law is broken.
    fn insist(self) -> Self {
        assert!(self.broken.is_empty(), "{self}");
        self
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = (self.kept.len(), self.not_run.len(), self.broken.len());
        write!(
            f,
            "{} laws are kept, {} were not run, {} are broken",
            counts.0, counts.1, counts.2
        )?;
        for (law, reason) in &self.not_run {
            write!(f, "\n  `{law}` was not run: {reason}")?;
        }
        for (law, how) in &self.broken {
            write!(f, "\n  `{law}`: {how}")?;
        }
        Ok(())
    }
}

/// Why a law is not kept.
#[derive(Debug)]
enum Finding {
    /// It is broken, in this way.
    Broken(String),
    /// It could not be asked, for this reason.
    NotRun(&'static str),
}

type Verdict = Result<(), Finding>;

impl From<Lacks> for Finding {
    fn from(Lacks(reason): Lacks) -> Self {
        Self::NotRun(reason)
    }
}

/// Finds a law broken unless this is so.
fn ensure(is_so: bool, how: impl FnOnce() -> String) -> Verdict {
    if is_so { Ok(()) } else { Err(Finding::Broken(how())) }
}

/// A law is broken in this way.
fn broken(how: impl fmt::Display) -> Finding {
    Finding::Broken(how.to_string())
}

/// What a panic said.
fn panicked(panic: &(dyn Any + Send)) -> String {
    let literal = panic.downcast_ref::<&str>().copied();
    let words = literal.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("it panicked: {}", words.unwrap_or("no words"))
}

/// The laws of these files, by name.
macro_rules! laws {
    ($($file:ident: $($name:ident),+;)+) => {
        &[$($((stringify!($name), $file::$name)),+),+]
    };
}
use laws;
