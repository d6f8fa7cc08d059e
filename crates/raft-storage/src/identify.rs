//! Whose disk this is: asked once at every start, by every host.
//!
//! A disk belongs to one node of one cluster for ever. A blank one is given to whoever starts with
//! it, under a new incarnation. Read next: `applier.rs`.

use core::fmt;

use raft_core::{ClusterId, Identity, Incarnation, NodeId, Peer};

use crate::{Storage, StorageError};

/// Why a node must not start from this disk.
#[derive(Clone, Debug)]
pub enum IdentifyError {
    /// The disk belongs to another node or another cluster.
    Foreign {
        /// Whose it is.
        disk: Identity,
        /// Who wanted to start.
        node: NodeId,
        /// In which cluster.
        cluster: ClusterId,
    },
    /// The identity could not be written.
    Storage(StorageError),
}

impl fmt::Display for IdentifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign { disk, node, cluster } => {
                write!(f, "this disk belongs to {disk}, but {node} of cluster {cluster} starts")
            }
            Self::Storage(error) => fmt::Display::fmt(error, f),
        }
    }
}

impl std::error::Error for IdentifyError {}

/// Gives a blank disk its identity, and compares that of any other.
///
/// # Errors
///
/// [`IdentifyError`]; a foreign disk is left as it is.
pub fn identify(
    storage: &mut dyn Storage,
    cluster: ClusterId,
    node: NodeId,
    incarnation: Incarnation,
) -> Result<Identity, IdentifyError> {
    if let Some(disk) = storage.identity() {
        if disk.cluster != cluster || disk.peer.node != node {
            return Err(IdentifyError::Foreign { disk, node, cluster });
        }
        return Ok(disk);
    }
    let identity = Identity { cluster, peer: Peer { node, incarnation } };
    storage.initialize(identity).map_err(IdentifyError::Storage)?;
    Ok(identity)
}
