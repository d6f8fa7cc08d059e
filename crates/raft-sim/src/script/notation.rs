//! How nodes, entries and messages look in scripts, and how they are read back.
//!
//! `n1@4` is a node at a term, `10@4` an entry: index, then term. Numbers of conversations are
//! random and are not shown. Read next: `cluster.rs`.

use core::fmt::Write as _;

use raft_core::{
    AppendEntries, AppendEntriesResponse, AppendResult, Body, Departure, Entry, EntryId, Index,
    InstallSnapshot, InstallSnapshotResponse, LogSlice, Member, Membership, Message, NodeId,
    Payload, PreVote, PreVoteResponse, Promotion, ReadIndex, ReadIndexResponse, RefusedProposal,
    RequestVote, RequestVoteResponse, Round, SnapshotId, SnapshotMeta, Status, Term,
};

/// A number.
pub(super) fn number(word: &str) -> Result<u64, String> {
    word.parse().map_err(|_| format!("{word:?}: a number is expected"))
}

/// A node, such as `n1`.
pub(super) fn node(word: &str) -> Result<NodeId, String> {
    let id = word.strip_prefix('n').and_then(|digits| digits.parse().ok()).and_then(NodeId::new);
    id.ok_or_else(|| format!("{word:?}: a node is expected, such as n1"))
}

/// An entry, such as `10@4`.
pub(super) fn id(word: &str) -> Result<EntryId, String> {
    let fault = || format!("{word:?}: an entry is expected, such as 10@4");
    let (index, term) = word.split_once('@').ok_or_else(fault)?;
    Ok(EntryId::new(Term::new(number(term)?), Index::new(number(index)?)))
}

/// Entries in brackets.
pub(super) fn ids(word: &str) -> Result<Vec<EntryId>, String> {
    let inside = word.strip_prefix('[').and_then(|word| word.strip_suffix(']'));
    let inside = inside.ok_or_else(|| format!("{word:?}: entries in brackets are expected"))?;
    inside.split_whitespace().map(id).collect()
}

/// Entries without brackets.
pub(super) fn list(ids: impl IntoIterator<Item = EntryId>) -> String {
    let ids: Vec<String> = ids.into_iter().map(|id| id.to_string()).collect();
    ids.join(" ")
}

/// A hand-made entry carries its own name.
pub(super) fn entry(id: EntryId) -> Entry {
    Entry { id, payload: Payload::command(id.to_string()) }
}

/// A message: `n1@4 → n2 AppendEntries prev=9@4 [10@4] commit=9 round=3`.
pub(crate) fn message(message: &Message) -> String {
    let Message { from, to, term, body, .. } = message;
    let (name, says) = (body.name(), says(body));
    let gap = if says.is_empty() { "" } else { " " };
    format!("{}@{term} → {to} {name}{gap}{says}", from.node)
}

fn says(body: &Body) -> String {
    match body {
        Body::PreVote(ask) => format!("last={}", ask.last),
        Body::RequestVote(ask) if ask.transfer => format!("last={} transfer", ask.last),
        Body::RequestVote(ask) => format!("last={}", ask.last),
        Body::PreVoteResponse(answer) => vote(answer.granted).into(),
        Body::RequestVoteResponse(answer) => vote(answer.granted).into(),
        Body::AppendEntries(AppendEntries { slice, leader_commit, round, .. }) => format!(
            "prev={} [{}] commit={leader_commit} round={round}",
            slice.prev(),
            list(slice.entries().iter().map(|entry| entry.id))
        ),
        Body::AppendEntriesResponse(AppendEntriesResponse { round, result }) => match result {
            AppendResult::Matched { match_index, accepted } => {
                format!("match={match_index} accepted={accepted} round={round}")
            }
            AppendResult::Conflict { hint, rejected } => {
                format!("conflict hint={hint} rejected={rejected} round={round}")
            }
        },
        Body::InstallSnapshot(offer) => {
            format!("last={} round={}", offer.snapshot.last_included, offer.round)
        }
        Body::InstallSnapshotResponse(answer) => {
            format!("match={} round={}", answer.match_index, answer.round)
        }
        Body::ReadIndex(ask) => format!("batch={}", ask.batch),
        Body::ReadIndexResponse(answer) => {
            let index = answer.index.map_or_else(|| "none".into(), |index| index.to_string());
            format!("batch={} index={index}", answer.batch)
        }
        Body::Propose(propose) => {
            let payloads = propose.payloads.iter().map(|payload| format!("{payload:?}"));
            format!("serial={} [{}]", propose.serial, payloads.collect::<Vec<_>>().join(" "))
        }
        Body::ProposeResponse(answer) => {
            let mut text = String::from("refused");
            for (ticket, reason) in &answer.refused {
                // Writing into a string cannot fail.
                let _ = write!(text, " t{ticket} ({})", refusal(*reason));
            }
            text
        }
        Body::TimeoutNow => String::new(),
    }
}

const fn vote(granted: bool) -> &'static str {
    if granted { "granted" } else { "refused" }
}

/// Why a proposal was refused, in words.
pub(super) const fn refusal(reason: RefusedProposal) -> &'static str {
    match reason {
        RefusedProposal::NotLeader => "not leader",
        RefusedProposal::Overloaded => "overloaded",
        RefusedProposal::TooLarge => "too large",
        RefusedProposal::StorageFull => "storage full",
    }
}

/// A role with the leader it follows: `follower(n5)`.
pub(super) fn role(status: &Status) -> String {
    match status.leader {
        Some(leader) if leader != status.id => format!("{}({leader})", status.role),
        Some(_) | None => status.role.to_string(),
    }
}

/// A node in a line: `n1@4 leader last=10@4 commit=9 applied=9 progress={n2:9→10}`.
pub(super) fn status(status: &Status) -> String {
    let mut text = format!(
        "{}@{} {} last={} commit={} applied={}",
        status.id,
        status.term,
        role(status),
        status.last,
        status.commit_index,
        status.last_applied
    );
    if status.durable < status.last.index {
        let _ = write!(text, " durable={}", status.durable);
    }
    if !status.progress.is_empty() {
        let seen = status.progress.iter().map(|(node, progress)| {
            let mode = match progress.mode {
                raft_core::ProgressMode::Replicate => String::new(),
                mode @ (raft_core::ProgressMode::Probe | raft_core::ProgressMode::Snapshot) => {
                    format!(" {mode}")
                }
            };
            format!("{node}:{}→{}{mode}", progress.match_index, progress.next_index)
        });
        let _ = write!(text, " progress={{{}}}", seen.collect::<Vec<_>>().join(", "));
    }
    text
}

fn nodes<'a>(nodes: impl IntoIterator<Item = &'a NodeId>) -> String {
    let nodes: Vec<String> = nodes.into_iter().map(ToString::to_string).collect();
    nodes.join(" ")
}

/// A membership: `4@1 voters={n1 n2 n4} outgoing={n1 n2 n3} learners={n5} leaving={n3}`. A learner
/// tells what is planned for it; `disks` are the voters' that are recorded.
pub(super) fn membership(membership: &Membership) -> String {
    let mut text = format!("{} voters={{{}}}", membership.id(), nodes(membership.voters()));
    let mut part = |name: &str, inside: String| {
        if !inside.is_empty() {
            // Writing into a string cannot fail.
            let _ = write!(text, " {name}={{{inside}}}");
        }
    };
    part("outgoing", nodes(membership.outgoing()));
    let learner = |node: NodeId| match membership.promotion(node) {
        Promotion::Manual => node.to_string(),
        Promotion::Automatic => format!("{node} to be promoted"),
        Promotion::Replaces(old) => format!("{node} to replace {old}"),
    };
    part("learners", membership.learners().map(learner).collect::<Vec<_>>().join(", "));
    let departure = |(node, departure): (&NodeId, &Departure)| match departure {
        Departure::Removed => node.to_string(),
        Departure::Readmitted(disk) => format!("{node} to begin again with disk {disk}"),
    };
    let departures = membership.departures().iter().map(departure);
    part("leaving", departures.collect::<Vec<_>>().join(", "));
    let members = membership.members().iter();
    let disk = |(node, member): (&NodeId, &Member)| Some(format!("{node}/{}", member.incarnation?));
    part("disks", members.filter_map(disk).collect::<Vec<_>>().join(" "));
    text
}

/// The name of a snapshot: equal on all nodes, for equal logs give equal states.
pub(super) fn snapshot_id(last_included: EntryId) -> SnapshotId {
    let EntryId { term, index } = last_included;
    SnapshotId::new(u128::from(term.get()) << 64 | u128::from(index.get()))
}

/// What a hand-made message says: the name, then its fields as they are shown.
pub(super) fn body(words: &[String], members: &Membership) -> Result<Body, String> {
    let (name, fields) = words.split_first().ok_or("the name of a message is expected")?;
    let fields = Fields(fields);
    Ok(match name.as_str() {
        "PreVote" => Body::PreVote(PreVote { last: id(fields.value("last")?)? }),
        "PreVoteResponse" => Body::PreVoteResponse(PreVoteResponse { granted: fields.vote()? }),
        "RequestVote" => Body::RequestVote(RequestVote {
            last: id(fields.value("last")?)?,
            transfer: fields.has("transfer"),
        }),
        "RequestVoteResponse" => {
            Body::RequestVoteResponse(RequestVoteResponse { granted: fields.vote()? })
        }
        "AppendEntries" => {
            let bracket = fields.0.iter().find(|word| word.starts_with('['));
            let entries = ids(bracket.ok_or("entries in brackets are expected")?)?;
            let entries = entries.into_iter().map(entry).collect();
            let slice = LogSlice::new(id(fields.value("prev")?)?, entries);
            Body::AppendEntries(AppendEntries {
                slice: slice.map_err(|error| error.to_string())?,
                leader_commit: fields.index("commit")?,
                round: fields.round()?,
                broadcast_time: std::time::Duration::ZERO,
            })
        }
        "AppendEntriesResponse" => {
            let result = if fields.has("conflict") {
                let (hint, rejected) = (id(fields.value("hint")?)?, fields.index("rejected")?);
                AppendResult::Conflict { hint, rejected }
            } else {
                let (match_index, accepted) = (fields.index("match")?, fields.index("accepted")?);
                AppendResult::Matched { match_index, accepted }
            };
            Body::AppendEntriesResponse(AppendEntriesResponse { round: fields.round()?, result })
        }
        "ReadIndex" => Body::ReadIndex(ReadIndex { batch: number(fields.value("batch")?)? }),
        "ReadIndexResponse" => Body::ReadIndexResponse(ReadIndexResponse {
            batch: number(fields.value("batch")?)?,
            index: Some(fields.index("index")?),
        }),
        "InstallSnapshot" => {
            let last_included = id(fields.value("last")?)?;
            let id = snapshot_id(last_included);
            let membership = members.clone();
            let snapshot = SnapshotMeta { id, last_included, membership, data_bytes: 0 };
            Body::InstallSnapshot(InstallSnapshot { snapshot, round: fields.round()? })
        }
        "InstallSnapshotResponse" => {
            let (match_index, round) = (fields.index("match")?, fields.round()?);
            Body::InstallSnapshotResponse(InstallSnapshotResponse { match_index, round })
        }
        "TimeoutNow" => Body::TimeoutNow,
        _ => return Err(format!("{name:?}: no message of this name can be made by hand")),
    })
}

struct Fields<'a>(&'a [String]);

impl<'a> Fields<'a> {
    fn has(&self, word: &str) -> bool {
        self.0.iter().any(|field| field == word)
    }

    fn value(&self, name: &str) -> Result<&'a str, String> {
        let named = |field: &'a String| field.strip_prefix(name)?.strip_prefix('=');
        self.0.iter().find_map(named).ok_or_else(|| format!("{name}=… is expected"))
    }

    fn index(&self, name: &str) -> Result<Index, String> {
        Ok(Index::new(number(self.value(name)?)?))
    }

    fn round(&self) -> Result<Round, String> {
        Ok(Round::new(number(self.value("round")?)?))
    }

    fn vote(&self) -> Result<bool, String> {
        if self.has("granted") == self.has("refused") {
            return Err("granted or refused is expected".into());
        }
        Ok(self.has("granted"))
    }
}
