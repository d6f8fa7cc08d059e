//! Known bugs on purpose, for tests only: each mutant is a mistake that some consensus system
//! shipped, put back into this code to see whether the suite finds it.
//!
//! * They are compiled in under the cfg `raft_mutants` only; the crates that make a server refuse
//!   it. Without it `is_on` is a constant, and nothing of a mutant is left in the program.
//! * At most one is on, chosen at run time, so that one build serves all of them.
//!
//! Read next: `docs/KNOWN_BUGS.md`, the ledger that says which test finds which.

#[cfg(raft_mutants)]
use core::sync::atomic::{AtomicUsize, Ordering};

/// A known bug that can be switched on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mutant {
    /// Its row and letter in the ledger.
    pub id: &'static str,
    /// What the code does wrong while it is on.
    pub bug: &'static str,
    /// What it breaks, in the codes of the ledger.
    pub property: &'static str,
    /// Why whole clusters do not show it; tests and scripts find it.
    pub unseen: Option<&'static str>,
}

const fn mutant(id: &'static str, property: &'static str, bug: &'static str) -> Mutant {
    Mutant { id, bug, property, unseen: None }
}

impl Mutant {
    const fn unseen(self, why: &'static str) -> Self {
        Self { unseen: Some(why), ..self }
    }
}

/// Every mutant, by area: elections, replication, reads and clients, forwarding, membership,
/// storage.
pub const REGISTRY: &[Mutant] = &[
    mutant("E1", "ES", "A candidate counts votes that were given in an earlier campaign."),
    mutant("E2a", "ES", "Stepping down within a term forgets the vote given in it."),
    mutant("E2b", "ES", "Hearing the leader of a term forgets the vote given in it."),
    mutant("E2c", "ES", "A candidate does not remember that it voted for itself."),
    mutant("E3", "ES MT", "A request for votes leaves before term and vote are durable."),
    mutant("E4a", "ES MT", "A failed write of term and vote is taken for a good one."),
    mutant("E4b", "ES MT", "A vote is given before the disk holds it."),
    mutant("E5a", "MT ES", "An append of an earlier leader takes the term back."),
    mutant("E6", "ES LM", "A leader that sees a higher term goes on leading in it."),
    mutant("E7", "LC DUR", "Votes and pre-votes are given without a look at the log."),
    mutant("E8a", "LC", "The longer log wins over the one of the later term."),
    mutant("E8b", "LIVE", "A log must be behind in neither term nor length to be as up-to-date."),
    mutant("E9", "LC LIVE", "With nothing but a snapshot left, the last term reads as zero."),
    mutant("E10a", "ES", "An answer to a pre-vote counts as a vote."),
    mutant("E10b", "LIVE", "An answer to an earlier pre-vote begins a campaign."),
    mutant("E10c", "LIVE", "A leader that is asked to campaign gives up its office."),
    mutant("E11a", "LIVE", "A pre-candidate of an earlier term gets no answer."),
    mutant("E11b", "LIVE", "Who asks for a pre-vote is taken for a leader."),
    mutant("E11c", "LIVE", "A leader lets itself be disturbed by whoever asks for votes."),
    mutant("E11d", "LIVE", "A follower that hears a leader helps another to depose it."),
    mutant("E12b", "LIVE", "A leader of an earlier term is not told that its term is over."),
    mutant("E14a", "LIVE", "Giving a vote does not begin the election timeout anew."),
    mutant("E14b", "LIVE", "A leader of an earlier term keeps followers from campaigning."),
    mutant("E15", "LIVE", "A candidate does not follow the leader of its own term."),
    mutant("E17", "LIVE LIN", "A leader without contact to a quorum stays leader."),
    mutant("E18a", "ES CFG", "A learner that is asked to take over campaigns.")
        .unseen("no leader asks one: the word has to be overtaken by a demotion"),
    mutant("E18b", "LIVE CFG", "Leadership is handed to a learner."),
    mutant("E20", "LIVE", "Leadership is handed to a node that lacks entries."),
    mutant("E22b", "LIVE", "A timeout that was put off meanwhile still begins a campaign."),
    mutant("R1", "LC CI", "Entries of earlier terms are committed by counting copies."),
    mutant("R2a", "CI", "The commit index of a follower falls to what a leader says."),
    mutant("R2b", "CI SMS", "A follower commits entries that its leader has not matched."),
    mutant("R3a", "QC LIVE", "An overtaken acknowledgement moves the match index back."),
    mutant("R3b", "LIVE", "A late rejection moves the next index below the match index."),
    mutant("R4", "CI DUR", "A late append cuts away entries that follow the ones it carries."),
    mutant("R6a", "QC DUR", "A follower acknowledges its whole log, not what an append covered."),
    mutant("R6b", "CI SMS", "A follower commits by an append that it rejects."),
    mutant("R9", "QC", "The commit index needs one voter less than a majority."),
    mutant("R10a", "QC", "Acknowledgements to an earlier leadership are counted."),
    mutant("R11", "QC DUR", "The receipt of a write counts for what replaced the written."),
    mutant("R12", "QC DUR", "A leader counts its own entries before they are durable."),
    mutant("R13", "QC DUR", "An append with nothing new acknowledges what is not durable."),
    mutant("R14a", "SMS EO", "A page of entries to apply skips those that did not fit."),
    mutant("R14b", "DUR", "Entries are applied before this disk holds them."),
    mutant("R15", "LM SMS", "Cutting the log leaves the cut entries in the cache."),
    mutant("R16", "LIVE", "An old entry at the front keeps the leader from committing."),
    mutant(
        "R17a",
        "LIVE",
        "A follower that lacks the base of the leader's log is probed at the base for ever.",
    ),
    mutant("R17b", "LIVE", "A follower lets go of a few conflicting entries, never of many."),
    mutant("R18", "LIVE RES", "Bytes in flight to a follower stay counted when it is probed."),
    mutant("R20", "DUR LIN", "After a restart committed entries are not applied again."),
    mutant("C1", "LIN", "A new leader serves reads before it knows the commit index."),
    mutant("C2", "LIN", "A read is served before a quorum confirms the leader."),
    mutant("C3", "LIN", "A late answer confirms the newest round."),
    mutant("C5", "LIN", "A read needs one voter less than a majority."),
    mutant("C6a", "LIN", "A lease is taken for four times as long as voters promise."),
    mutant("C7a", "LIN", "A read index is what was applied, not what was committed."),
    mutant("C7b", "SMS", "A read index is taken for the commit index of the own log."),
    mutant("C8a", "LIVE", "Reads of a leader that steps down are forgotten without a word."),
    mutant("C9a", "LIN", "A read is answered before its index is applied."),
    mutant("C11a", "LIN", "A proposal on its way is called lost by an entry of its own term."),
    mutant("C11b", "LIN EO", "A proposal cut from the log is called certainly not applied."),
    mutant("C12", "LIVE", "Installing a snapshot forgets who waits for entries of the old log."),
    mutant(
        "C4",
        "LIN",
        "A leader that told somebody to campaign goes on serving reads under its lease.",
    ),
    mutant("C4b", "LIVE", "A transfer that fails never ends, and nothing is accepted any more."),
    mutant(
        "C6c",
        "LIN",
        "After a restart a voter forgets that it promised not to vote for a while.",
    ),
    mutant("F1", "EO", "A doubled message appends its proposals again."),
    mutant("F2", "LIN", "A leader that restarted says that it never appended a proposal."),
    mutant(
        "S1",
        "SMS ES",
        "A log that contradicts an offered snapshot is taken for one that holds it.",
    ),
    mutant("S4", "CFG ES", "Installing a snapshot leaves later, uncommitted memberships in force."),
    mutant("S17", "RES", "A snapshot that falls due while another is taken is forgotten."),
    mutant(
        "M1",
        "ES CI",
        "A leader changes the membership before it committed an entry of its term.",
    ),
    mutant("M3a", "ES DUR ID", "Another disk under the id of a voter is heard."),
    mutant("M5", "ES", "A membership change begins before the one before is committed."),
    mutant("M6b", "CFG ES", "Cutting the log over two memberships takes one of them back.")
        .unseen("at most one membership of a log is not committed, and nothing else is cut"),
    mutant("M7", "LIVE", "The second half of a membership change is never appended."),
    mutant("M8a", "QC ES", "A joint membership asks one of its majorities."),
    mutant(
        "M9a",
        "LIVE DUR",
        "A leader that votes no more steps down before its removal is committed.",
    ),
    mutant("M16b", "LIVE", "A learner is promoted before it has caught up."),
    mutant("D1", "DUR", "The only voter of a group answers before its disk holds the entry."),
    mutant("D3", "DUR", "The tail of a segment is not synced before the next one begins."),
    mutant("D4", "REC MT", "SUPER is emptied and written anew, with one sync at the end."),
    mutant("D5", "LM DUR", "A new suffix is written without a record that cuts the old one."),
    mutant("D6", "DUR", "Writes are acknowledged and never synced."),
    mutant("D9", "REC", "A torn tail is taken for corruption."),
    mutant("D10b", "DUR", "Damage to what was acknowledged is taken for a torn tail."),
    mutant("D12", "DUR", "A failed sync is tried again, and its success believed."),
    mutant("D13", "LM", "Cutting the log leaves the places of cut entries in the index."),
    mutant("D14", "LM", "Reads see bytes from before a later write."),
    mutant("D18", "SMS", "Payloads read from the disk are not compared with their seals."),
    mutant("D21", "DUR REC", "The name of a new segment is not made durable."),
    mutant("D22", "LM REC", "A recycled segment keeps its salt, so that its old batches look new."),
    mutant("D23a", "DUR QC", "A follower acknowledges entries before its disk holds them."),
    mutant("D24", "LM SMS", "A follower keeps entries that conflict with its leader's."),
    mutant("D26", "LIVE", "A leader whose disk stands still stays leader."),
];

/// The number of a mutant, counted from one.
///
/// # Panics
///
/// If there is no such mutant; `mutant!` asks at compile time.
pub const fn number(id: &str) -> usize {
    let mut at = 0;
    while at < REGISTRY.len() {
        if is_equal(REGISTRY[at].id.as_bytes(), id.as_bytes()) {
            return at + 1;
        }
        at += 1;
    }
    panic!("no mutant has this id")
}

/// `==` is not for constants yet.
pub(crate) const fn is_equal(one: &[u8], two: &[u8]) -> bool {
    if one.len() != two.len() {
        return false;
    }
    let mut at = 0;
    while at < one.len() {
        if one[at] != two[at] {
            return false;
        }
        at += 1;
    }
    true
}

/// Whether the mutant of this number is on: never, in this build.
#[cfg(not(raft_mutants))]
#[inline]
pub const fn is_on(_number: usize) -> bool {
    false
}

/// Whether the mutant of this number is on.
#[cfg(raft_mutants)]
#[inline]
pub fn is_on(number: usize) -> bool {
    SELECTED.load(Ordering::Relaxed) == number
}

/// Switches one mutant on for the whole process, and all others off. `false` if there is no such
/// mutant; all are off then.
#[cfg(raft_mutants)]
pub fn select(id: Option<&str>) -> bool {
    let at = id.and_then(|id| REGISTRY.iter().position(|mutant| mutant.id == id));
    SELECTED.store(at.map_or(0, |at| at + 1), Ordering::Relaxed);
    id.is_none() || at.is_some()
}

/// The number of the mutant that is on; zero if none is.
#[cfg(raft_mutants)]
static SELECTED: AtomicUsize = AtomicUsize::new(0);

/// Whether a known bug is switched on; `false` in every build that is not for tests.
#[macro_export]
#[doc(hidden)]
macro_rules! mutant {
    ($id:literal) => {
        $crate::mutants::is_on(const { $crate::mutants::number($id) })
    };
}
