//! Coverage marks, for tests only: each names a branch that is legal and rarely taken, so that a
//! suite can tell what it never tried.
//!
//! * A passage is counted under the cfg `raft_mutants` only, for the whole process. Without it
//!   nothing of a mark is left in the program.
//! * A mark stands where the branch is taken, or says when it counts. Only what a correct cluster
//!   can reach with faulty networks and disks is marked; what would be a bug is asserted instead.
//!
//! Read next: `mutants.rs`, which breaks on purpose what these branches do right.

#[cfg(raft_mutants)]
use core::sync::atomic::{AtomicU64, Ordering};

use crate::mutants::is_equal;

/// A rare branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// How it is called in the sources and in reports.
    pub name: &'static str,
    /// What happens when it is passed.
    pub meaning: &'static str,
}

const fn rare(name: &'static str, meaning: &'static str) -> Mark {
    Mark { name, meaning }
}

/// Every mark, by area: elections, replication, disk, applying, reads, forwarding, snapshots,
/// membership, leadership, storage.
pub const REGISTRY: &[Mark] = &[
    rare("term-of-a-removed-node", "The term of an answer of a removed node is not taken over."),
    rare("vote-while-led", "A vote is refused because a leader is heard."),
    rare("vote-already-given", "A vote is refused because another has it."),
    rare("pre-vote-outdated", "A pre-vote is refused because the asker's log is behind."),
    rare("candidate-hears-leader", "A candidate follows the leader of its own term."),
    rare("campaign-without-result", "A campaign times out, and another begins."),
    rare("answer-to-ended-campaign", "A vote arrives when its campaign is over."),
    rare("leader-without-quorum", "A leader steps down because no quorum answers."),
    rare("leader-unreachable", "A broken connection to the leader shortens the timeout."),
    rare("append-already-here", "An append carries nothing but entries that are here."),
    rare("suffix-cut", "A conflicting tail is cut from the log."),
    rare("hint-skips-a-term", "A rejection takes the leader back over entries of a later term."),
    rare("rejection-ignored", "A rejection comes too late to say anything."),
    rare("loss-noticed", "A heartbeat shows that what was sent before it is lost."),
    rare("load-came-too-late", "Loaded entries are no longer what their follower is sent next."),
    rare("answer-to-ended-leadership", "A leader hears an answer to an earlier leadership."),
    rare("quorum-on-earlier-term", "A quorum holds an entry of an earlier term; it must wait."),
    rare("write-in-flight-clipped", "The log is cut below what a write in flight reaches."),
    rare("promises-forgotten", "A new term makes promises void before they are written."),
    rare("promise-kept-back", "A promise waits for a later write than the next."),
    rare("acknowledgement-folded", "An acknowledgement is contained in the one after it."),
    rare("load-for-apply", "Entries to apply left memory and are loaded."),
    rare("apply-backlog-full", "Committed entries wait because the state machine is slow."),
    rare("read-before-first-commit", "A read waits for the first commit of its leader's term."),
    rare("read-refused-for-peer", "A leader refuses a follower's read because too many wait."),
    rare("read-asked-again", "A follower asks again for a read index that did not come."),
    rare("reads-abandoned", "Leadership ends while a local read waits."),
    rare("proposal-overloaded", "A leader refuses a local proposal: too much is uncommitted."),
    rare("forwarded-overloaded", "A leader refuses a forwarded proposal: too much is uncommitted."),
    rare("forwarded-twice", "A doubled or overtaken message with proposals is dropped."),
    rare("forwarded-outrun", "A later term commits before a forwarded proposal shows up."),
    rare("ticket-dropped", "A caller's entry is cut from the log; its outcome is unknown."),
    rare("snapshot-mode", "A follower needs entries that left the log; a snapshot is offered."),
    rare("snapshot-installed", "A follower that got a snapshot goes on with entries."),
    rare("offer-of-the-known", "A snapshot is offered that covers nothing new."),
    rare(
        "offer-of-the-held",
        "A snapshot is offered whose last entry is in the log, not yet committed.",
    ),
    rare("fetch-failed", "A snapshot could not be fetched; the next offer is taken."),
    rare("fetch-outrun", "A fetched snapshot comes after the entries it covers."),
    rare("capture-outrun", "A snapshot is done when a newer one was installed."),
    rare("log-pinned", "The log is kept for a follower that installs or catches up."),
    rare("forwarded-inside-snapshot", "A snapshot hides what became of a forwarded proposal."),
    rare("joint-left", "The second half of a membership change is appended."),
    rare("incarnations-recorded", "The disks of voters are recorded in the membership."),
    rare("learner-promoted", "A learner has caught up and becomes a voter by itself."),
    rare("promotion-refused", "A learner has caught up, and a guard rail keeps it from voting."),
    rare("change-abandoned", "Leadership ends between the halves of a membership change."),
    rare("leader-retired", "A leader that votes no more hands over."),
    rare("other-disk-in-session", "Another disk speaks for a follower within one session."),
    rare("transfer-begun", "A leader begins to hand over."),
    rare("transfer-given-up", "Nobody took over in time; the leader goes on."),
    rare("asked-to-take-over", "A follower campaigns because its leader asks it to."),
    rare("asked-without-a-vote", "A follower that has no vote any more is asked to campaign."),
    rare("preferred-leader", "A leader hands over to one that is preferred."),
    rare("leader-with-stalled-disk", "A leader steps down because its disk stands still."),
    rare("read-without-a-round", "A leader answers a read without asking anybody."),
    rare("bounded-read", "A follower answers a read with an index it has."),
    rare("torn-tail", "Recovery cuts a write that was never acknowledged."),
    rare("segment-without-batch", "Recovery finds a segment whose first batch does not read."),
    rare("proof-later-batch", "A later batch proves that a damaged one was durable (P1)."),
    rare("proof-later-segment", "A later segment proves that a damaged batch was durable (P2)."),
    rare("proof-super", "SUPER proves that a damaged batch was durable (P3)."),
    rare("later-batch-unproven", "A batch reads behind one that does not, and proves nothing."),
    rare("super-copy-invalid", "A copy of SUPER does not read."),
    rare("free-segment-found", "The free segment of an earlier life is taken over."),
    rare("batch-split", "One call writes more than fits into a batch."),
    rare("segment-ends-inside-call", "A segment ends between two batches of one call."),
    rare("segment-enlarged", "A write is larger than a segment and gets one of its size."),
    rare("truncate-record", "A write replaces entries that the disk holds."),
    rare("zero-fill-refused", "There is no room to fill the next segment ahead of need."),
    rare("log-begins-later", "Recovery begins at a Checkpoint, for the segments before are dead."),
    rare("closed-unwritten", "A storage is closed that wrote nothing."),
];

/// The number of a mark, counted from zero.
///
/// # Panics
///
/// If there is no such mark; `mark!` asks at compile time.
pub const fn number(name: &str) -> usize {
    let mut at = 0;
    while at < REGISTRY.len() {
        if is_equal(REGISTRY[at].name.as_bytes(), name.as_bytes()) {
            return at;
        }
        at += 1;
    }
    panic!("no mark has this name")
}

/// Counts nothing, in this build.
#[cfg(not(raft_mutants))]
#[inline]
pub const fn hit(_number: usize) {}

/// Counts a passage.
#[cfg(raft_mutants)]
#[inline]
pub fn hit(number: usize) {
    PASSED[number].fetch_add(1, Ordering::Relaxed);
}

/// How often the mark of this number was passed.
#[cfg(raft_mutants)]
pub fn count(number: usize) -> u64 {
    PASSED[number].load(Ordering::Relaxed)
}

/// Counts every mark from zero again.
#[cfg(raft_mutants)]
pub fn reset() {
    for passed in &PASSED {
        passed.store(0, Ordering::Relaxed);
    }
}

#[cfg(raft_mutants)]
static PASSED: [AtomicU64; REGISTRY.len()] = [const { AtomicU64::new(0) }; REGISTRY.len()];

/// Counts a passage through a rare branch; with a condition, only when that holds. Nothing, in
/// every build that is not for tests.
#[macro_export]
#[doc(hidden)]
macro_rules! mark {
    ($name:literal) => {
        $crate::marks::hit(const { $crate::marks::number($name) })
    };
    ($name:literal, $when:expr) => {
        if $when {
            $crate::mark!($name);
        }
    };
}
