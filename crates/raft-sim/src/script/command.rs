//! The language of scripts.
//!
//! ```text
//! cluster nodes=3           starts so many nodes, whose disks know the members of the group;
//!                           pre-vote=off, forwarding=off, inflight=1, message=100 and
//!                           uncommitted=200 (bytes) change settings, and so do record=on
//!                           (incarnations), snapshot-every=4 and keep=2 (entries), lease=1000
//!                           (ppm of drift) and prefer=n2,n1; joining=2: so many nodes more that
//!                           wait to be added
//! given n1 term=6 vote=n2 [1@1 2@4]
//!                           gives a node a disk of an earlier life, and starts it anew
//! campaign n1               asks for an election without waiting
//! elect n1                  campaigns and settles, telling the end only
//! propose n1 "x" "y"        proposals of callers at a node; their tickets are counted from t1
//! read n2 [lease|bounded=100ms]
//!                           a read of a caller at a node, linearizable if nothing else is said
//! change n1 add n4 remove n2 [expected=3@1] [risk]
//!                           asks for a membership change: add (promoted by itself), learner (not
//!                           so), promote, demote, remove, `replace n3 n4`, readmit (with the disk
//!                           it has now), `move n3 "address"`; risk: without guard rails
//! transfer n1 [n2]          asks a leader to hand over
//! snapshot n1               asks for a snapshot of what is applied
//! deliver [n1→n2] [2|last|all]
//!                           the oldest message arrives, or so many of them, or the newest one
//! drop [n1→n2] [2|last|all] is lost instead
//! duplicate n1→n2           doubles the oldest message on the link
//! hold n1→n2, release n1→n2 `settle` passes over the link, or no more
//! partition n1 | n2 n3      the links between the sides lose everything
//! cut n1→n2, heal           one link loses everything; no link loses anything any more
//! persist n1, persist all   finishes the oldest write of a node, or of each node
//! hold-disk n1, release-disk n1
//!                           only `persist n1` finishes its writes, or `settle` too
//! hold-apply n1, applied n1, release-apply n1
//!                           the state machine is slow: only `applied n1` finishes its oldest job
//! hold-capture n1, captured n1, capture-fails n1, release-capture n1
//!                           a snapshot is written only when it is said, or cannot be
//! hold-fetch n3, fetched n3, fetch-fails n3, release-fetch n3
//!                           `settle` does not fetch what was offered; it arrives, or cannot be had
//! crash n1, restart n1      loses memory and unfinished writes; starts from the disk
//! wipe n3 [join]            loses the disk too; starts as on the first day, or waits to be added
//! tick n1                   time passes to the deadline of this node, and only it wakes up
//! elapse 100ms              time passes; nodes wake at their deadlines, nothing arrives
//! run 1s                    time passes, and everything settles whenever a node wakes
//! settle                    delivers, persists and applies until nothing is left
//! unreachable n1 n2         tells n1 that its connection to n2 broke
//! inject n1@4 → n2 AppendEntries prev=9@4 [10@4] commit=9 round=3
//!                           a hand-made message arrives, in the conversation that is going on
//! status [n1], log n1, disk n1, members n1, wire
//!                           tell what is; a bar in a log stands behind what is committed
//! quietly …                 carries out a command and tells nothing
//! ```
//!
//! Read next: `stage.rs`.

use std::time::Duration;

use raft_core::{Consistency, EntryId, NodeId, Term};

use super::change::Asked;
use super::notation;

/// From one node to another.
pub(super) type Link = (NodeId, NodeId);

/// Which messages of a link, or of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// The oldest so many.
    Oldest(usize),
    /// The newest one.
    Newest,
    /// Every one that is under way now.
    All,
}

/// What a script can hold back at a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lane {
    /// Writes.
    Disk,
    /// The state machine.
    Apply,
    /// The writing of snapshots.
    Capture,
    /// The fetching of snapshots.
    Fetch,
}

/// What a script does with the lanes of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Nothing happens there by itself any more.
    Hold(Lane),
    /// What waits there happens.
    Release(Lane),
    /// The oldest job of the state machine is done.
    Applied,
    /// The snapshot being written is published, or cannot be.
    Captured { works: bool },
    /// The snapshot being fetched is here, or cannot be had.
    Fetched { works: bool },
}

/// A line of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Cluster { settings: Vec<(String, String)> },
    Given { node: NodeId, term: Term, vote: Option<NodeId>, log: Vec<EntryId> },
    Campaign(NodeId),
    Elect(NodeId),
    Propose { node: NodeId, texts: Vec<String> },
    Read { node: NodeId, consistency: Consistency },
    Change { node: NodeId, asked: Asked },
    Transfer { node: NodeId, to: Option<NodeId> },
    Snapshot(NodeId),
    Deliver { link: Option<Link>, which: Which },
    Drop { link: Option<Link>, which: Which },
    Duplicate(Link),
    Hold(Link),
    Release(Link),
    Partition(Vec<Vec<NodeId>>),
    Cut(Link),
    Heal,
    Persist(Option<NodeId>),
    Lane { node: NodeId, order: Order },
    Wipe { node: NodeId, joins: bool },
    Crash(NodeId),
    Restart(NodeId),
    Tick(NodeId),
    Elapse(Duration),
    Run(Duration),
    Settle,
    Unreachable { node: NodeId, peer: NodeId },
    Inject { from: NodeId, term: Term, to: NodeId, words: Vec<String> },
    Status(Option<NodeId>),
    Log(NodeId),
    Disk(NodeId),
    Members(NodeId),
    Wire,
    Quietly(Box<Self>),
}

impl Command {
    /// Reads a command. An error says what was expected and what was found.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if let Some(rest) = text.strip_prefix("quietly ") {
            return Ok(Self::Quietly(Box::new(Self::parse(rest)?)));
        }
        let words = words(text)?;
        let Some((name, args)) = words.split_first() else {
            return Err("a command is expected".into());
        };
        let mut args = Args { args, at: 0 };
        let command = Self::parse_named(name, &mut args)?;
        match args.peek() {
            None => Ok(command),
            Some(word) => Err(format!("{word:?} is one word too many")),
        }
    }

    fn parse_named(name: &str, args: &mut Args<'_>) -> Result<Self, String> {
        Ok(match name {
            "cluster" => Self::Cluster { settings: args.settings()? },
            "given" => parse_given(args)?,
            "campaign" => Self::Campaign(args.node()?),
            "elect" => Self::Elect(args.node()?),
            "propose" => Self::Propose { node: args.node()?, texts: args.texts()? },
            "read" => Self::Read { node: args.node()?, consistency: args.consistency()? },
            "change" => Self::Change { node: args.node()?, asked: Asked::parse(args)? },
            "transfer" => {
                let node = args.node()?;
                let to = args.peek().map(|_| args.node()).transpose()?;
                Self::Transfer { node, to }
            }
            "snapshot" => Self::Snapshot(args.node()?),
            "deliver" => {
                let (link, which) = args.messages()?;
                Self::Deliver { link, which }
            }
            "drop" => {
                let (link, which) = args.messages()?;
                Self::Drop { link, which }
            }
            "duplicate" => Self::Duplicate(args.link()?),
            "hold" => Self::Hold(args.link()?),
            "release" => Self::Release(args.link()?),
            "partition" => Self::Partition(args.sides()?),
            "cut" => Self::Cut(args.link()?),
            "heal" => Self::Heal,
            "persist" if args.peek() == Some("all") => {
                args.word()?;
                Self::Persist(None)
            }
            "persist" => Self::Persist(Some(args.node()?)),
            "wipe" => {
                let (node, joins) = (args.node()?, args.peek() == Some("join"));
                if joins {
                    args.word()?;
                }
                Self::Wipe { node, joins }
            }
            "crash" => Self::Crash(args.node()?),
            "restart" => Self::Restart(args.node()?),
            "tick" => Self::Tick(args.node()?),
            "elapse" => Self::Elapse(args.span()?),
            "run" => Self::Run(args.span()?),
            "settle" => Self::Settle,
            "unreachable" => Self::Unreachable { node: args.node()?, peer: args.node()? },
            "inject" => parse_inject(args)?,
            "status" if args.peek().is_none() => Self::Status(None),
            "status" => Self::Status(Some(args.node()?)),
            "log" => Self::Log(args.node()?),
            "disk" => Self::Disk(args.node()?),
            "members" => Self::Members(args.node()?),
            "wire" => Self::Wire,
            _ => {
                let order = parse_order(name).ok_or_else(|| {
                    "there is no such command; they are listed in script/command.rs".to_owned()
                })?;
                Self::Lane { node: args.node()?, order }
            }
        })
    }
}

fn parse_order(name: &str) -> Option<Order> {
    Some(match name {
        "hold-disk" => Order::Hold(Lane::Disk),
        "release-disk" => Order::Release(Lane::Disk),
        "hold-apply" => Order::Hold(Lane::Apply),
        "release-apply" => Order::Release(Lane::Apply),
        "hold-capture" => Order::Hold(Lane::Capture),
        "release-capture" => Order::Release(Lane::Capture),
        "hold-fetch" => Order::Hold(Lane::Fetch),
        "release-fetch" => Order::Release(Lane::Fetch),
        "applied" => Order::Applied,
        "captured" => Order::Captured { works: true },
        "capture-fails" => Order::Captured { works: false },
        "fetched" => Order::Fetched { works: true },
        "fetch-fails" => Order::Fetched { works: false },
        _ => return None,
    })
}

fn parse_given(args: &mut Args<'_>) -> Result<Command, String> {
    let node = args.node()?;
    let (mut term, mut vote, mut log) = (None, None, Vec::new());
    while let Some(word) = args.peek() {
        if let Some(number) = word.strip_prefix("term=") {
            term = Some(Term::new(notation::number(number)?));
        } else if let Some(name) = word.strip_prefix("vote=") {
            vote = Some(notation::node(name)?);
        } else {
            log = notation::ids(word)?;
        }
        args.word()?;
    }
    let term = term.ok_or("term=… is expected: a disk of an earlier life knows its term")?;
    Ok(Command::Given { node, term, vote, log })
}

fn parse_inject(args: &mut Args<'_>) -> Result<Command, String> {
    let sender = args.word()?;
    let (from, term) = sender
        .split_once('@')
        .ok_or_else(|| format!("{sender:?}: a sender with its term is expected, such as n1@4"))?;
    let (from, term) = (notation::node(from)?, Term::new(notation::number(term)?));
    if args.word()? != "→" {
        return Err("→ is expected between sender and receiver".into());
    }
    let to = args.node()?;
    let mut words = Vec::new();
    while args.peek().is_some() {
        words.push(args.word()?.to_owned());
    }
    Ok(Command::Inject { from, term, to, words })
}

/// Splits at blanks, but not inside quotes and brackets.
fn words(text: &str) -> Result<Vec<String>, String> {
    let mut words = vec![String::new()];
    let mut inside = None;
    for c in text.chars() {
        let word = words.last_mut().expect("there is always a last word");
        match (inside, c) {
            (None, ' ') => words.push(String::new()),
            (None, '"' | '[') => {
                inside = Some(if c == '"' { '"' } else { ']' });
                word.push(c);
            }
            (Some(end), _) if end == c => {
                inside = None;
                word.push(c);
            }
            (None | Some(_), _) => word.push(c),
        }
    }
    if let Some(end) = inside {
        return Err(format!("{end} is expected before the end of the line"));
    }
    words.retain(|word| !word.is_empty());
    Ok(words)
}

/// The words after the name of a command, taken one by one.
pub(super) struct Args<'a> {
    args: &'a [String],
    at: usize,
}

impl<'a> Args<'a> {
    pub(super) fn peek(&self) -> Option<&'a str> {
        self.args.get(self.at).map(String::as_str)
    }

    pub(super) fn word(&mut self) -> Result<&'a str, String> {
        let word = self.peek().ok_or("the line ends too early")?;
        self.at += 1;
        Ok(word)
    }

    pub(super) fn node(&mut self) -> Result<NodeId, String> {
        notation::node(self.word()?)
    }

    fn link(&mut self) -> Result<Link, String> {
        let word = self.word()?;
        let (from, to) = word
            .split_once('→')
            .ok_or_else(|| format!("{word:?}: a link is expected, such as n1→n2"))?;
        Ok((notation::node(from)?, notation::node(to)?))
    }

    /// `n1→n2`, `n1→n2 3`, `n1→n2 last`, `n1→n2 all`, `all`, or nothing: the oldest one.
    fn messages(&mut self) -> Result<(Option<Link>, Which), String> {
        let link = match self.peek() {
            Some(word) if word.contains('→') => Some(self.link()?),
            Some(_) | None => None,
        };
        let which = match self.peek() {
            None => Which::Oldest(1),
            Some("last") => Which::Newest,
            Some("all") => Which::All,
            Some(count) => Which::Oldest(
                usize::try_from(notation::number(count)?).map_err(|error| error.to_string())?,
            ),
        };
        self.at = self.args.len().min(self.at + 1);
        Ok((link, which))
    }

    fn sides(&mut self) -> Result<Vec<Vec<NodeId>>, String> {
        let mut sides = vec![Vec::new()];
        while let Some(word) = self.peek() {
            self.at += 1;
            if word == "|" {
                sides.push(Vec::new());
            } else {
                sides.last_mut().expect("there is a last side").push(notation::node(word)?);
            }
        }
        if sides.len() < 2 || sides.iter().any(Vec::is_empty) {
            return Err("two sides are expected, such as n1 | n2 n3".into());
        }
        Ok(sides)
    }

    fn texts(&mut self) -> Result<Vec<String>, String> {
        let mut texts = Vec::new();
        while let Some(word) = self.peek() {
            self.at += 1;
            let text = word.strip_prefix('"').and_then(|word| word.strip_suffix('"'));
            texts.push(text.ok_or_else(|| format!("{word:?} is expected in quotes"))?.to_owned());
        }
        if texts.is_empty() { Err("a command in quotes is expected".into()) } else { Ok(texts) }
    }

    fn settings(&mut self) -> Result<Vec<(String, String)>, String> {
        let mut settings = Vec::new();
        while let Some(word) = self.peek() {
            self.at += 1;
            let (name, value) =
                word.split_once('=').ok_or_else(|| format!("{word:?}: name=value is expected"))?;
            settings.push((name.to_owned(), value.to_owned()));
        }
        Ok(settings)
    }

    fn span(&mut self) -> Result<Duration, String> {
        span(self.word()?)
    }

    fn consistency(&mut self) -> Result<Consistency, String> {
        let Some(word) = self.peek() else { return Ok(Consistency::Linearizable) };
        self.word()?;
        if word == "lease" {
            return Ok(Consistency::Lease);
        }
        let age = word.strip_prefix("bounded=");
        let age = age.ok_or_else(|| format!("{word:?}: lease or bounded=… is expected"))?;
        Ok(Consistency::Bounded { age_max: span(age)? })
    }
}

fn span(word: &str) -> Result<Duration, String> {
    if let Some(number) = word.strip_suffix("ms") {
        return Ok(Duration::from_millis(notation::number(number)?));
    }
    let number = word.strip_suffix('s').ok_or_else(|| format!("{word:?}: ms or s is expected"));
    Ok(Duration::from_secs(notation::number(number?)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is not a command is refused with what was expected.
    #[test]
    fn what_is_not_a_command_is_refused_with_a_reason() {
        for (text, reason) in [
            ("conquer n1", "no such command"),
            ("campaign", "ends too early"),
            ("campaign one", "\"one\""),
            ("campaign n1 n2", "one word too many"),
            ("propose n1 x", "in quotes"),
            ("propose n1 \"x", "\" is expected before the end"),
            ("partition n1 n2", "two sides"),
            ("elapse 5", "ms or s"),
            ("hold n1", "a link is expected"),
            ("inject n1 → n2 TimeoutNow", "with its term"),
            ("hold-door n1", "no such command"),
            ("read n1 soon", "lease or bounded"),
            ("change n1", "a change is expected"),
            ("change n1 crown n2", "no such change"),
        ] {
            let error = Command::parse(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
