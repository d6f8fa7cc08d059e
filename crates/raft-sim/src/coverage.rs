//! Which fault was met in which phase of the protocol, how often.
//!
//! A row that is empty in a column is a situation nobody tested. Read next: `nemesis.rs`, which
//! aims faults at phases.

use std::fmt;

macro_rules! named {
    ($(#[$doc:meta])* $enum:ident { $($(#[$item:meta])* $name:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $enum { $($(#[$item])* $name,)* }

        impl $enum {
            /// All of them, in order.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its name in tables.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }

        impl fmt::Display for $enum {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }
    };
}

named! {
    /// A kind of fault.
    Fault {
        /// The power of one machine fails; what was not synced may be gone.
        PowerLoss = "power loss",
        /// A process dies, its operating system lives.
        Kill = "kill",
        /// A node dies, or its power fails, between two effects: messages, calls, answers.
        EffectCrash = "crash between effects",
        /// Every machine loses its power at once.
        RestartAll = "power loss of all",
        /// A machine does nothing for a while, then everything at once.
        Pause = "pause and burst",
        /// A process is asked to stop, and started again.
        CleanStop = "clean stop",
        /// An operator asks a node to campaign.
        Campaign = "asked to campaign",
        /// An operator asks for other members.
        Change = "membership change",
        /// An operator asks a leader to hand over.
        Transfer = "asked to hand over",
        /// A disk is replaced by a blank one.
        Wipe = "wiped disk",
        /// Two machines get each other's disk.
        Swap = "swapped disks",
        /// A clock goes wrong, by up to a factor of two.
        ClockRate = "clock drift",
        /// A clock jumps ahead.
        ClockJump = "clock jump",
        /// Messages are lost.
        Loss = "loss",
        /// Messages arrive twice.
        Double = "duplication",
        /// Messages arrive again much later, across restarts.
        Late = "late replay",
        /// Messages overtake each other.
        Reorder = "reordering",
        /// A node and another hear each other no more.
        Cut = "cut link",
        /// A node is not heard, but hears, or the other way round.
        OneWay = "one-way cut",
        /// Two halves that only one node connects.
        Bridge = "bridge",
        /// A node alone.
        Isolate = "isolation",
        /// Links carry nothing for a while and then everything.
        Clog = "clogged link",
        /// Bytes of messages change.
        Corrupt = "corrupted bytes",
        /// Links are slow.
        SlowLink = "slow link",
        /// Connections break, and both ends are told.
        Reset = "connection reset",
        /// A sync fails, and the pages are called clean.
        SyncError = "failed sync",
        /// A write fails in the middle.
        WriteError = "failed write",
        /// A read fails.
        ReadError = "failed read",
        /// A file cannot be opened.
        OpenError = "failed open",
        /// Reads and writes are carried out in part.
        ShortIo = "short read and write",
        /// No room is left on a disk.
        Full = "full disk",
        /// A disk is slow.
        SlowDisk = "slow disk",
        /// A disk answers nothing for a while.
        HungDisk = "hung disk",
        /// A bit of what was durable changes.
        BitRot = "bit rot",
        /// A sector of what was durable cannot be read.
        Unreadable = "unreadable sector",
        /// A write went elsewhere.
        Misdirected = "misdirected write",
        /// A write went nowhere, although its sync returned.
        Stale = "stale block",
    }
}

named! {
    /// What a node is doing when a fault hits it. It may be in several phases at once.
    Phase {
        /// Follows a leader or waits for one.
        Follower = "follower",
        /// Asks whether it could win.
        PreCandidate = "pre-cand.",
        /// Asks for votes.
        Candidate = "candidate",
        /// Leads, and no entry of its term is committed yet.
        NewLeader = "new leader",
        /// Leads.
        Leader = "leader",
        /// Led until now, or until a heartbeat interval ago.
        SteppingDown = "step down",
        /// Hands leadership over.
        Transferring = "hand-over",
        /// Is in a joint membership.
        Joint = "joint",
        /// Writes a snapshot of its own.
        Capturing = "capture",
        /// Fetches a snapshot of a peer.
        Installing = "install",
        /// Writes entries in the place of others.
        Truncating = "truncation",
        /// Begins a segment of its WAL.
        SegmentRoll = "segment",
        /// Reads its disk after a start.
        Recovery = "recovery",
        /// Was asked to stop.
        Stopping = "stopping",
    }
}

/// Counts of faults by phase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage {
    cells: Vec<u64>,
    totals: Vec<u64>,
}

impl Default for Coverage {
    fn default() -> Self {
        let (rows, columns) = (Fault::ALL.len(), Phase::ALL.len());
        Self { cells: vec![0; rows * columns], totals: vec![0; rows] }
    }
}

impl Coverage {
    /// A fault hit a node in these phases.
    pub(crate) fn hit(&mut self, fault: Fault, phases: Phases) {
        self.totals[fault as usize] += 1;
        self.met(fault, phases);
    }

    /// A fault that was put there before took effect in these phases.
    pub(crate) fn met(&mut self, fault: Fault, phases: Phases) {
        for phase in Phase::ALL.iter().filter(|phase| phases.has(**phase)) {
            self.cells[fault as usize * Phase::ALL.len() + *phase as usize] += 1;
        }
    }

    /// How often this fault was met in this phase.
    pub fn count(&self, fault: Fault, phase: Phase) -> u64 {
        self.cells[fault as usize * Phase::ALL.len() + phase as usize]
    }

    /// How often this fault was met.
    pub fn total(&self, fault: Fault) -> u64 {
        self.totals[fault as usize]
    }

    /// Adds what another run met.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.cells.iter_mut().zip(&other.cells) {
            *mine += theirs;
        }
        for (mine, theirs) in self.totals.iter_mut().zip(&other.totals) {
            *mine += theirs;
        }
    }

    /// Every combination that was never met, but for those that cannot be.
    pub fn missing(&self) -> Vec<(Fault, Phase)> {
        let all = Fault::ALL.iter().flat_map(|f| Phase::ALL.iter().map(move |p| (*f, *p)));
        let possible = all.filter(|(fault, phase)| fault.impossible_in(*phase).is_none());
        possible.filter(|(fault, phase)| self.count(*fault, *phase) == 0).collect()
    }
}

impl Fault {
    /// Whether it strikes calls of a disk: in the phases that are jobs of a disk it is counted when
    /// a call of that job fails or takes longer.
    pub(crate) const fn is_of_calls(self) -> bool {
        matches!(
            self,
            Self::SyncError
                | Self::WriteError
                | Self::ReadError
                | Self::OpenError
                | Self::ShortIo
                | Self::Full
                | Self::SlowDisk
                | Self::HungDisk
        )
    }

    /// Why this fault cannot meet this phase; `None` if it can.
    pub const fn impossible_in(self, phase: Phase) -> Option<&'static str> {
        match (self, phase) {
            (Self::ReadError, Phase::Truncating | Phase::SegmentRoll | Phase::Stopping) => {
                Some("nothing is read then")
            }
            (Self::OpenError, Phase::Stopping) => Some("nothing is opened then"),
            (Self::OpenError, Phase::Truncating) => {
                Some("a file is opened only if a segment begins with it: see there")
            }
            (Self::Full, Phase::Stopping) => Some("nothing grows then"),
            (Self::CleanStop, Phase::Stopping) => Some("it was asked to stop already"),
            (Self::Campaign | Self::Change | Self::Transfer, Phase::Recovery | Phase::Stopping) => {
                Some("no node runs that could be asked")
            }
            (
                Self::Change | Self::Transfer,
                Phase::Follower | Phase::PreCandidate | Phase::Candidate | Phase::SteppingDown,
            ) => Some("only leaders do so"),
            (Self::Change | Self::Transfer, Phase::Transferring) => {
                Some("a leader that hands over refuses")
            }
            (Self::Change, Phase::NewLeader | Phase::Joint) => Some("a leader refuses then"),
            (Self::Change | Self::Transfer, Phase::Truncating) => Some("no leader truncates"),
            _ => None,
        }
    }
}

/// A Markdown table: a row for each fault, a column for each phase. A dash is a cell that cannot
/// be met.
impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "| {:<22} |", "fault")?;
        for phase in Phase::ALL {
            write!(f, " {phase:>10} |")?;
        }
        write!(f, "\n|{:-<24}|", "")?;
        for _ in Phase::ALL {
            write!(f, "{:->12}|", ":")?;
        }
        for fault in Fault::ALL {
            write!(f, "\n| {fault:<22} |")?;
            for phase in Phase::ALL {
                match fault.impossible_in(*phase) {
                    Some(_) => write!(f, " {:>10} |", "–")?,
                    None => write!(f, " {:>10} |", self.count(*fault, *phase))?,
                }
            }
        }
        writeln!(f)
    }
}

/// A set of phases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Phases(u16);

impl Phases {
    pub(crate) const fn with(self, phase: Phase) -> Self {
        Self(self.0 | 1 << phase as u16)
    }

    pub(crate) const fn with_if(self, holds: bool, phase: Phase) -> Self {
        if holds { self.with(phase) } else { self }
    }

    /// Without the phases that are jobs of a disk.
    pub(crate) const fn without_jobs(self) -> Self {
        let jobs = 1 << Phase::Truncating as u16
            | 1 << Phase::SegmentRoll as u16
            | 1 << Phase::Recovery as u16
            | 1 << Phase::Stopping as u16;
        Self(self.0 & !jobs)
    }

    pub(crate) const fn has(self, phase: Phase) -> bool {
        self.0 & 1 << phase as u16 != 0
    }

    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}
