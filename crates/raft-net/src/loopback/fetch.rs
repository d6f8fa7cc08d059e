//! Fetches over a loopback network: chunks pass by reference, and a cut ends what crosses it.
//!
//! There is no clock here: a fetch ends by what the network, the store and the sink do, never by
//! how long they take.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use raft_core::{Chunk, ChunkStore, GroupId, NodeId, SnapshotError, SnapshotId};
use tokio::sync::oneshot;

use super::{Hub, Link, Loopback, locked};
use crate::fetch::{Ending, OpenSink, Supplier, Trouble, blocking, bytes_max, run};
use crate::stats::SnapshotStats;

/// The store of a node, if it has handed one in.
#[derive(Clone, Default)]
pub(super) struct Shelf(pub(super) Option<Arc<dyn ChunkStore>>);

impl fmt::Debug for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Shelf").field(&self.0.is_some()).finish()
    }
}

/// A fetch under way, as the network knows it.
#[derive(Debug)]
pub(super) struct Crossing {
    by: NodeId,
    from: NodeId,
    /// Dropped to hang up; nothing is ever sent.
    _hang_up: oneshot::Sender<Infallible>,
}

impl Hub {
    /// Hangs up the fetches whose nodes do not reach each other any more.
    pub(super) fn cross_out(&mut self) {
        let links = &self.links;
        let is_up = |from, to| links.get(&(from, to)) == Some(&Link::Up);
        self.crossings
            .retain(|_, Crossing { by, from, .. }| is_up(*by, *from) && is_up(*from, *by));
    }

    fn count(&mut self, node: NodeId, count: impl FnOnce(&mut SnapshotStats)) {
        if let Some(node) = self.nodes.get_mut(&node) {
            count(&mut node.snapshots);
        }
    }
}

impl Loopback {
    /// Fetches for `by`; the caller spawns it.
    pub(super) fn fetch(
        &self,
        by: NodeId,
        from: NodeId,
        (group, id): (GroupId, SnapshotId),
        sink: OpenSink,
    ) -> impl Future<Output = ()> + Send + 'static {
        let (sender, ended) = oneshot::channel();
        let mut hub = locked(&self.hub);
        hub.count(by, |counted| counted.begun += 1);
        let number = hub.crossed;
        hub.crossed += 1;
        hub.crossings.insert(number, Crossing { by, from, _hang_up: sender });
        // Between nodes that do not reach each other it is hung up at once.
        hub.cross_out();
        drop(hub);
        let (network, hub) = (self.clone(), self.clone());
        async move {
            let supplier = Crosser { network, by, from, group, id };
            let hung_up = async {
                drop(ended.await);
                "the two nodes do not reach each other"
            };
            let count = |ending: &Ending| {
                let mut hub = locked(&hub.hub);
                hub.crossings.remove(&number);
                hub.count(by, |counted| counted.end(&ending.outcome));
            };
            run(sink, supplier, hung_up, count).await;
        }
    }
}

/// Who asks.
struct Crosser {
    network: Loopback,
    by: NodeId,
    from: NodeId,
    group: GroupId,
    id: SnapshotId,
}

impl Crosser {
    fn count(&self, node: NodeId, count: impl FnOnce(&mut SnapshotStats)) {
        locked(&self.network.hub).count(node, count);
    }
}

impl Supplier for Crosser {
    async fn ask(&mut self, number: u32) -> Result<Chunk, Trouble> {
        let (group, id, from) = (self.group, self.id, self.from);
        let store = {
            let hub = locked(&self.network.hub);
            hub.nodes.get(&from).and_then(|node| node.store.0.clone())
        };
        let found = match store {
            Some(store) => blocking(move || store.chunk(group, id, number)).await,
            None => Some(Err(SnapshotError::Gone)),
        };
        match found {
            Some(Ok(chunk)) if chunk.bytes.len() as u64 <= bytes_max(number) => {
                self.count(from, |counted| counted.served.add(chunk.bytes.len() as u64));
                Ok(chunk)
            }
            Some(Err(SnapshotError::Gone)) => {
                self.count(from, |counted| counted.missed += 1);
                Err(Trouble::Gone)
            }
            Some(Err(error)) => {
                self.count(from, |counted| counted.unreadable += 1);
                Err(Trouble::Broken(error.to_string()))
            }
            Some(Ok(_)) => {
                self.count(from, |counted| counted.unreadable += 1);
                Err(Trouble::Broken(format!("chunk {number} is too large to be sent")))
            }
            None => Err(Trouble::Broken("the runtime ended".to_owned())),
        }
    }

    fn is_damaged(&mut self) {
        self.count(self.by, |counted| counted.damaged += 1);
    }

    fn is_taken(&mut self, bytes: u64) {
        self.count(self.by, |counted| counted.fetched.add(bytes));
    }
}
