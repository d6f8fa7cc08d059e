//! Membership changes as scripts ask for them.
//!
//! Read next: `cluster.rs`.

use bytes::Bytes;
use raft_core::{Change, ChangeRequest, EntryId, Incarnation, NodeId, Promotion};

use super::command::Args;
use super::notation;

/// What somebody asks a leader for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    parts: Vec<Part>,
    expected: Option<EntryId>,
    is_at_risk: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Change(Change),
    /// Back with the disk that the node has when it is asked for.
    Readmit(NodeId),
}

impl Asked {
    pub(super) fn parse(args: &mut Args<'_>) -> Result<Self, String> {
        let mut asked = Self { parts: Vec::new(), expected: None, is_at_risk: false };
        while args.peek().is_some() {
            let word = args.word()?;
            if let Some(id) = word.strip_prefix("expected=") {
                asked.expected = Some(notation::id(id)?);
            } else if word == "risk" {
                asked.is_at_risk = true;
            } else {
                asked.parts.push(part(word, args)?);
            }
        }
        if asked.parts.is_empty() {
            return Err("a change is expected, such as add n4".into());
        }
        Ok(asked)
    }

    /// The request, given the disks that the nodes have now.
    pub(super) fn request(&self, disk: impl Fn(NodeId) -> Incarnation) -> ChangeRequest {
        let changes = self.parts.iter().map(|part| match part {
            Part::Change(change) => change.clone(),
            Part::Readmit(node) => Change::Readmit { node: *node, incarnation: disk(*node) },
        });
        let mut request = ChangeRequest::new(changes);
        (request.expected, request.availability_at_risk) = (self.expected, self.is_at_risk);
        request
    }
}

fn part(word: &str, args: &mut Args<'_>) -> Result<Part, String> {
    let add = |node, promotion| Change::AddLearner { node, address: Bytes::new(), promotion };
    let change = match word {
        "add" => add(args.node()?, Promotion::Automatic),
        "learner" => add(args.node()?, Promotion::Manual),
        "replace" => {
            let old = args.node()?;
            add(args.node()?, Promotion::Replaces(old))
        }
        "promote" => Change::Promote { node: args.node()? },
        "demote" => Change::Demote { node: args.node()? },
        "remove" => Change::Remove { node: args.node()? },
        "readmit" => return Ok(Part::Readmit(args.node()?)),
        "move" => {
            let node = args.node()?;
            let address = args.word()?.trim_matches('"').to_owned().into();
            Change::UpdateAddress { node, address }
        }
        _ => return Err(format!("{word:?}: there is no such change")),
    };
    Ok(Part::Change(change))
}
