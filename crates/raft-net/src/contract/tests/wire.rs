//! TCP as a subject: a node is reached through a wire that can be cut, and that outlives it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use raft_core::NodeId;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::super::{Nature, Network, Property, Queueing, Subject};
use crate::{TcpConfig, TcpTransport, Transport};

pub(super) struct OverTcp;

const MESSAGE_BYTES_MAX: u64 = 4 << 20;
const BULK_BYTES_MAX: u64 = 1 << 20;

impl Subject for OverTcp {
    fn nature(&self) -> Nature {
        Nature {
            message_bytes_max: Property::Has(MESSAGE_BYTES_MAX),
            queueing: Queueing::Own { bulk_bytes_max: BULK_BYTES_MAX },
            hangs_up: Property::Has(()),
        }
    }

    fn network(&mut self) -> Box<dyn Network> {
        Box::new(Wires::default())
    }
}

#[derive(Default)]
struct Wires(BTreeMap<NodeId, Wire>);

/// Where others dial a node, for all its lives.
struct Wire {
    place: SocketAddr,
    /// Where it listens in this life.
    target: watch::Sender<Option<SocketAddr>>,
    /// Sent to whoever carries bytes: hang up.
    cut: watch::Sender<()>,
}

impl Network for Wires {
    fn transport(&mut self, node: NodeId) -> Box<dyn Transport> {
        let wire = self.0.entry(node).or_insert_with(lay);
        Box::new(TcpTransport::new(TcpConfig {
            advertise: Some(wire.place.to_string()),
            bulk_queue_bytes_max: BULK_BYTES_MAX,
            frame_bytes_max: MESSAGE_BYTES_MAX,
            redial_min: Duration::from_millis(1),
            redial_max: Duration::from_millis(50),
            ..TcpConfig::default()
        }))
    }

    fn address(&mut self, node: NodeId, listens: Option<SocketAddr>) -> String {
        let wire = &self.0[&node];
        wire.target.send_replace(listens);
        wire.place.to_string()
    }

    fn sever(&mut self, a: NodeId, b: NodeId) {
        for node in [a, b] {
            self.0[&node].cut.send_replace(());
        }
    }
}

/// Lays a wire: whoever connects to it is connected with the target, until a cut.
fn lay() -> Wire {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.set_nonblocking(true).expect("it can be told");
    let listener = TcpListener::from_std(listener).expect("inside a runtime");
    let place = listener.local_addr().expect("it is bound");
    let (target, cut) = (watch::Sender::new(None), watch::Sender::new(()));
    let (is_at, is_cut) = (target.subscribe(), cut.subscribe());
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let mut is_cut = is_cut.clone();
            is_cut.mark_unchanged();
            tokio::spawn(carry(near, is_at.clone(), is_cut));
        }
    });
    Wire { place, target, cut }
}

async fn carry(
    mut near: TcpStream,
    is_at: watch::Receiver<Option<SocketAddr>>,
    mut is_cut: watch::Receiver<()>,
) {
    let target = *is_at.borrow();
    let Some(target) = target else { return };
    let Ok(mut far) = TcpStream::connect(target).await else { return };
    // How it ends, the two ends notice.
    tokio::select! {
        _ = is_cut.changed() => {}
        _ = copy_bidirectional(&mut near, &mut far) => {}
    }
}
