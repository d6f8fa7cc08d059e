//! Both transports of this crate keep every law. Read next: `tests/broken.rs`, those that do not.

mod broken;
mod broken_fetch;
mod wire;

use raft_core::NodeId;

use super::{Nature, Network, Property, Queueing, Subject, check};
use crate::{Loopback, LoopbackTransport, Transport};

const LOOPBACK: Nature = Nature {
    message_bytes_max: Property::Lacks(NO_FRAMES),
    queueing: Queueing::Inbox,
    hangs_up: Property::Lacks(ALL_ARE_DIALLED),
};

const NO_FRAMES: &str = "memory has no frames";
const ALL_ARE_DIALLED: &str = "a loopback network dials everybody who is on it";

struct InMemory;

impl Subject for InMemory {
    fn nature(&self) -> Nature {
        LOOPBACK
    }

    fn network(&mut self) -> Box<dyn Network> {
        Box::new(Loopback::network())
    }
}

impl Network for Loopback {
    fn transport(&mut self, _: NodeId) -> Box<dyn Transport> {
        let transport: LoopbackTransport = self.join();
        Box::new(transport)
    }

    fn sever(&mut self, a: NodeId, b: NodeId) {
        self.cut(a, b);
        self.heal();
    }
}

/// The loopback keeps every law, but for the two that ask for what it lacks by nature.
#[test]
fn the_loopback_keeps_the_contract() {
    let report = check(&mut InMemory);
    let not_run = [
        ("too_large_messages_are_refused_with_their_size", NO_FRAMES),
        ("who_leaves_the_roster_is_hung_up_on", ALL_ARE_DIALLED),
    ];
    assert_eq!(report.not_run, not_run, "{report}");
    assert_eq!(report.kept.len(), 29, "{report}");
}

/// TCP keeps every law, on connections that break at any byte.
#[test]
fn tcp_keeps_the_contract() {
    let report = check(&mut wire::OverTcp);
    assert_eq!(report.not_run, [], "{report}");
    assert_eq!(report.kept.len(), 31, "{report}");
}
