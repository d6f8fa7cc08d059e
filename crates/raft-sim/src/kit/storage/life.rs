//! Lives of a storage on a simulated disk, and how they end.
//!
//! Time tells calls apart: each takes one [`TICK`], so a crash may be put between any two.

use std::sync::Arc;

use raft_core::{ClusterId, Identity, Incarnation, NodeId, Peer};
use raft_storage::{Storage, StorageError};

use super::super::{Finding, broken};
use super::StorageSubject;
use super::facts::Facts;
use super::story::{Story, Write};
use crate::choice::Choices;
use crate::disk::{Crash, DiskProfile, SimDisk};

/// A subject, and what is known of its crashes so far.
pub(super) struct Stage<'a> {
    pub(super) subject: &'a mut dyn StorageSubject,
    /// The crashes of each story so far: several laws look at them.
    pub(super) landings: Vec<Vec<super::crash::Landing>>,
}

impl<'a> Stage<'a> {
    pub(super) fn new(subject: &'a mut dyn StorageSubject) -> Self {
        Self { subject, landings: Vec::new() }
    }

    /// A blank disk whose choices come from this seed.
    pub(super) fn blank(&self, block_bytes: usize, seed: u64) -> SimDisk {
        let profile = DiskProfile {
            block_bytes,
            call_ns: TICK,
            sync_ns: TICK,
            sync_jitter_ns: 0,
            tears_to_garbage: !self.subject.trusts_torn_blocks(),
            ..DiskProfile::default()
        };
        SimDisk::new(profile, Choices::random(seed))
    }

    /// Opens the disk as a new process; the one before is dead.
    pub(super) fn open(&mut self, disk: &SimDisk) -> Result<Box<dyn Storage>, String> {
        disk.begin_job(disk.job_end());
        self.subject.open(Arc::new(disk.handle()))
    }

    /// The same, where nothing keeps it from being opened.
    pub(super) fn must_open(&mut self, disk: &SimDisk) -> Result<Box<dyn Storage>, Finding> {
        self.open(disk).map_err(|error| broken(format_args!("cannot be opened: {error}")))
    }

    /// A blank disk that belongs to somebody now, durably.
    pub(super) fn owned(
        &mut self,
        block_bytes: usize,
        seed: u64,
    ) -> Result<(SimDisk, Box<dyn Storage>), Finding> {
        let disk = self.blank(block_bytes, seed);
        let mut storage = self.must_open(&disk)?;
        let owned = storage.initialize(identity(1));
        owned.map_err(|error| broken(format_args!("a blank disk takes no identity: {error}")))?;
        Ok((disk, storage))
    }

    /// What is found on a disk by a new process.
    pub(super) fn look(&mut self, disk: &SimDisk) -> Result<Facts, String> {
        let mut storage = self.open(disk)?;
        let found = storage.identity();
        if found != Some(identity(1)) {
            return Err(format!("the identity is {found:?}"));
        }
        let facts = Facts::of(storage.as_mut());
        // It dies as it is: a process that is dropped in good order could still write.
        disk.crash(disk.job_end(), Crash::Process);
        facts
    }
}

/// What a life came to.
pub(super) struct Life {
    /// How many writes were acknowledged, and since when.
    pub(super) receipts: Vec<(u64, usize)>,
    /// How many writes were asked for.
    pub(super) asked: usize,
    /// What ended it, if not the end of the story.
    pub(super) error: Option<StorageError>,
}

/// Tells a storage a story, until it fails.
pub(super) fn live(disk: &SimDisk, storage: &mut dyn Storage, story: &Story) -> Life {
    let mut life = Life { receipts: vec![(0, 0)], asked: 0, error: None };
    for call in &story.calls {
        life.asked += call.len();
        match storage.persist(&call.iter().map(Write::persist).collect::<Vec<_>>()) {
            Ok(()) => life.receipts.push((disk.job_end(), life.asked)),
            Err(error) => {
                life.error = Some(error);
                break;
            }
        }
    }
    life
}

impl Life {
    /// How many writes were acknowledged.
    pub(super) fn acknowledged(&self) -> usize {
        self.acknowledged_at(u64::MAX)
    }

    /// The same, at this moment.
    pub(super) fn acknowledged_at(&self, at: u64) -> usize {
        let before = self.receipts.iter().rev().find(|(since, _)| *since <= at);
        before.map_or(0, |(_, writes)| *writes)
    }
}

/// How many of the story's writes are there; an error is what is there instead.
pub(super) fn writes_in(facts: &Facts, story: &Story) -> Result<usize, String> {
    let found = story.states.iter().rposition(|state| state == facts);
    found.ok_or_else(|| format!("no write ends with what is there: {}", facts.describe()))
}

/// Whose disk it is.
pub(super) fn identity(node: u64) -> Identity {
    let node = NodeId::new(node).expect("the kit uses no node zero");
    let peer = Peer { node, incarnation: Incarnation::new(0xc0de) };
    Identity { cluster: ClusterId::new(0xc1), peer }
}

/// How long a call takes.
pub(super) const TICK: u64 = 1_000;
