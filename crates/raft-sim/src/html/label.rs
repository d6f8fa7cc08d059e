//! Short words for messages: what stands at an arrow when there is no room for all of it.
//!
//! The input is the notation of scripts; what cannot be read as such is shown as it is.

/// What a message is for; decides its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Votes, pre-votes and the call to campaign.
    Vote,
    /// Entries, or a question about the log.
    Append,
    /// An answer about the log.
    Answer,
    /// A heartbeat or its answer.
    Heartbeat,
    /// A snapshot's offer and its answer.
    Snapshot,
    /// What was forwarded for a client: proposals and reads.
    Forward,
}

impl Kind {
    /// All, in the order of the legend.
    pub(super) const ALL: [Self; 6] =
        [Self::Vote, Self::Append, Self::Answer, Self::Heartbeat, Self::Snapshot, Self::Forward];

    /// Reads it off a message.
    pub(super) fn of(text: &str, is_heartbeat: bool) -> Self {
        if is_heartbeat {
            return Self::Heartbeat;
        }
        match parts(text).map_or("", |(name, _)| name) {
            "AppendEntries" => Self::Append,
            "AppendEntriesResponse" => Self::Answer,
            "InstallSnapshot" | "InstallSnapshotResponse" => Self::Snapshot,
            "PreVote"
            | "PreVoteResponse"
            | "RequestVote"
            | "RequestVoteResponse"
            | "TimeoutNow" => Self::Vote,
            _ => Self::Forward,
        }
    }

    /// The name in the style sheet.
    pub(super) const fn class(self) -> &'static str {
        match self {
            Self::Vote => "vote",
            Self::Append => "append",
            Self::Answer => "answer",
            Self::Heartbeat => "heartbeat",
            Self::Snapshot => "snapshot",
            Self::Forward => "forward",
        }
    }

    /// The name in the legend.
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Vote => "votes",
            Self::Append => "AppendEntries",
            Self::Answer => "its answer",
            Self::Heartbeat => "heartbeat",
            Self::Snapshot => "snapshot",
            Self::Forward => "forwarded",
        }
    }
}

/// A message in few words: `Append [10@4 … 15@4]`.
pub(super) fn short(text: &str) -> String {
    let Some((name, says)) = parts(text) else { return text.to_owned() };
    match name {
        "AppendEntries" => format!("Append {}", entries(says)),
        "AppendEntriesResponse" if says.starts_with("conflict") => {
            format!("conflict {}", value(says, "hint"))
        }
        "AppendEntriesResponse" => match (value(says, "match"), value(says, "accepted")) {
            (matched, accepted) if matched == accepted || accepted.is_empty() => {
                format!("match {matched}")
            }
            (matched, accepted) => format!("match {matched}, accepted {accepted}"),
        },
        "PreVote" | "RequestVote" | "InstallSnapshot" => {
            format!("{name} {}", says.trim_start_matches("last="))
        }
        "PreVoteResponse" => format!("pre-vote {says}"),
        "RequestVoteResponse" => format!("vote {says}"),
        "InstallSnapshotResponse" => format!("snapshot match {}", value(says, "match")),
        "ReadIndex" => format!("ReadIndex {}", value(says, "batch")),
        "ReadIndexResponse" => format!("read at {}", value(says, "index")),
        "ProposeResponse" => says.to_owned(),
        _ => format!("{name} {says}").trim_end().to_owned(),
    }
}

/// At most so many characters, the last one an ellipsis if some were cut.
pub(super) fn clip(text: &str, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return text.to_owned();
    }
    text.chars().take(chars_max.saturating_sub(1)).chain(['…']).collect()
}

/// A text in lines of at most so many characters, broken at spaces where there are some.
pub(super) fn wrap(text: &str, chars_max: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split_whitespace() {
            let is_full = line.chars().count() + 1 + word.chars().count() > chars_max;
            if is_full && !line.is_empty() {
                lines.push(core::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(&clip(word, chars_max));
        }
        lines.push(line);
    }
    lines
}

/// The name of a message and what it says: what follows `n1@4 → n2 `.
fn parts(text: &str) -> Option<(&str, &str)> {
    let (_, after) = text.split_once(" → ")?;
    let (_, message) = after.split_once(' ')?;
    Some(message.split_once(' ').unwrap_or((message, "")))
}

fn value<'a>(says: &'a str, name: &str) -> &'a str {
    let named = |word: &'a str| word.strip_prefix(name)?.strip_prefix('=');
    says.split_whitespace().find_map(named).unwrap_or_default()
}

fn entries(says: &str) -> String {
    let inside = says.split_once('[').and_then(|(_, after)| after.split_once(']'));
    let ids: Vec<&str> = inside.map_or("", |(ids, _)| ids).split_whitespace().collect();
    match ids.as_slice() {
        [] => format!("[] commit={}", value(says, "commit")),
        [one] => format!("[{one}]"),
        [one, two] => format!("[{one} {two}]"),
        [first, .., last] => format!("[{first} … {last}]"),
    }
}
