//! How two nodes meet: the first frames of a connection, and the verdict on them.
//!
//! The node that dials says who it is, whom it wants and which versions it speaks; the other
//! answers with its own identity, or with a refusal that names what does not fit and the remedy.
//!
//! * These frames keep their form in every version of the protocol: they choose the version.
//! * A node that is not in the roster is let in unless the settings say otherwise: a follower that
//!   was away for long learns from a leader it never heard of (§6).
//!
//! Read next: `frame.rs`, the bytes around everything that follows.

use std::fmt;

use raft_core::{Identity, NodeId, Peer};

use crate::{Class, Roster};

/// The versions of the protocol that a node speaks, from the oldest to the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionRange {
    /// The oldest.
    pub min: u8,
    /// The newest.
    pub max: u8,
}

impl VersionRange {
    /// What this code speaks.
    pub const SPOKEN: Self = Self { min: 1, max: 1 };

    /// The newest version both speak.
    pub fn common(self, other: Self) -> Option<u8> {
        let version = self.max.min(other.max);
        (version >= self.min.max(other.min)).then_some(version)
    }
}

impl fmt::Display for VersionRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.min == self.max {
            write!(f, "version {}", self.min)
        } else {
            write!(f, "versions {} to {}", self.min, self.max)
        }
    }
}

/// What the node that dials says first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    /// The versions it speaks.
    pub(crate) versions: VersionRange,
    /// Who it is.
    pub(crate) identity: Identity,
    /// Whom it believes it has dialled.
    pub(crate) to: NodeId,
    /// What it will send on this connection.
    pub(crate) class: Class,
    /// Where it listens itself, so that a node that does not know it yet can answer. May be empty.
    pub(crate) address: String,
}

/// Why a handshake was refused, and in which words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// For programs.
    pub code: RefusalCode,
    /// For people: what does not fit, both sides named, with the remedy.
    pub sentence: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

/// Why a handshake was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum RefusalCode {
    /// No version of the protocol is spoken by both.
    Version,
    /// The two belong to different clusters.
    Cluster,
    /// Another node than the one that was asked for was reached.
    WrongNode,
    /// Both ends are the same node, or say so.
    OwnId,
    /// The membership has recorded another incarnation of the node: its disk is not the one it
    /// promised with.
    Incarnation,
    /// The node is not in the roster, and nodes outside it are not let in.
    UnknownNode,
    /// A reason of a later version of the protocol.
    Other(u8),
}

/// What to do with a node that is not in the roster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strangers {
    /// Let it in, as §6 asks: the roster of a node that was away may be older than the leader.
    #[default]
    Welcome,
    /// Refuse it. For clusters whose members never change: elsewhere a node that missed a change
    /// can never catch up from members it has not heard of.
    Refuse,
}

/// Decides about a node that introduces itself; gives the version to speak.
pub(crate) fn judge(
    hello: &Hello,
    me: Identity,
    roster: &Roster,
    strangers: Strangers,
) -> Result<u8, Refusal> {
    let refuse = |code, sentence| Err(Refusal { code, sentence });
    let (Peer { node, incarnation }, own) = (hello.identity.peer, me.peer.node);
    let spoken = VersionRange::SPOKEN;
    let Some(version) = hello.versions.common(spoken) else {
        let sentence = format!(
            "{node} speaks {} of the protocol, {own} speaks {spoken}: upgrade the older of the two",
            hello.versions
        );
        return refuse(RefusalCode::Version, sentence);
    };
    if hello.identity.cluster != me.cluster {
        let (theirs, ours) = (hello.identity.cluster, me.cluster);
        let sentence = format!(
            "{node} belongs to cluster {theirs}, {own} belongs to cluster {ours}: correct the \
             address that led {node} here, or the cluster id of one of them"
        );
        return refuse(RefusalCode::Cluster, sentence);
    }
    if node == own {
        let sentence = format!(
            "both ends say they are {own}: an address leads back to its owner, or two nodes were \
             started with one id"
        );
        return refuse(RefusalCode::OwnId, sentence);
    }
    if hello.to != own {
        let sentence = format!(
            "{node} asked for {}, but this is {own}: correct the address of {}",
            hello.to, hello.to
        );
        return refuse(RefusalCode::WrongNode, sentence);
    }
    match roster.get(&node) {
        Some(known) => match known.incarnation {
            Some(recorded) if recorded != incarnation => {
                let sentence = format!(
                    "{node} shows incarnation {incarnation}, the membership has recorded \
                     {recorded}: its disk is not the one it promised with; readmit it, or remove \
                     it and add it again"
                );
                refuse(RefusalCode::Incarnation, sentence)
            }
            Some(_) | None => Ok(version),
        },
        None if strangers == Strangers::Welcome => Ok(version),
        None => {
            let sentence = format!("{own} does not know {node}: add {node} to the membership");
            refuse(RefusalCode::UnknownNode, sentence)
        }
    }
}
