//! The end of a chunk connection that dials: asks for chunks and hears the answers.
//!
//! One connection for each fetch, made when the first chunk is wanted. What bounds it is silence,
//! never its length: as long as bytes come, it goes on.
//!
//! Read next: `serve.rs`, the other end.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use raft_core::{Chunk, GroupId, NodeId, SnapshotId};
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;
use tracing::{info, warn};

use super::Local;
use super::dial::{DialError, connect_for};
use super::peer::{Peer, Whereabouts};
use crate::chunk::{ANSWER_BYTES_MAX, ChunkRequest, NoChunk, Reason, decode_chunk};
use crate::fetch::{Ending, OpenSink, Supplier, Trouble, bytes_max, run};
use crate::frame::{Frame, FrameError, FrameReader, Kind, put_frame};
use crate::hello::Purpose;
use crate::stats::Fault;

/// Begins a fetch; returns at once.
pub(super) fn begin(
    local: &Arc<Local>,
    from: NodeId,
    group: GroupId,
    id: SnapshotId,
    sink: OpenSink,
) {
    // Held until the sink is closed, so that `stopped` waits for that.
    let mut stop = local.stop.subscribe();
    local.snapshots().begun += 1;
    let peer = local.peers().get(&from).cloned();
    let local = Arc::clone(local);
    let runtime = local.runtime.clone();
    runtime.spawn(async move {
        let mut whereabouts = peer.as_ref().map(|peer| peer.whereabouts.subscribe());
        let hung_up = async {
            let left = async {
                match whereabouts.as_mut() {
                    Some(whereabouts) => drop(whereabouts.wait_for(is_gone).await),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = stop.wait_for(|is_stopped| *is_stopped) => "this transport was stopped",
                () = left => "it left the roster",
            }
        };
        let supplier = Caller { local: Arc::clone(&local), peer, group, id, line: None };
        let ended = |ending: &Ending| {
            local.snapshots().end(&ending.outcome);
            let me = local.me.peer.node;
            if matches!(ending.outcome, raft_core::FetchOutcome::Complete) {
                info!("{me} fetched snapshot {id} of group {group} from {from}");
            } else {
                warn!("{me} ends to fetch snapshot {id} of group {group} from {from}: {ending}");
            }
        };
        run(sink, supplier, hung_up, ended).await;
        drop(stop);
    });
}

pub(super) fn is_gone(whereabouts: &Whereabouts) -> bool {
    *whereabouts == Whereabouts::Gone
}

/// Who asks.
struct Caller {
    local: Arc<Local>,
    /// `None` if nobody named the node.
    peer: Option<Arc<Peer>>,
    group: GroupId,
    id: SnapshotId,
    line: Option<Line>,
}

/// A connection to a node that let us in.
struct Line {
    answers: FrameReader<OwnedReadHalf>,
    requests: OwnedWriteHalf,
    version: u8,
}

impl Supplier for Caller {
    async fn ask(&mut self, number: u32) -> Result<Chunk, Trouble> {
        let Some(peer) = self.peer.clone() else {
            return Err(Trouble::Broken("it is not in the roster".to_owned()));
        };
        let mut line = match self.line.take() {
            Some(line) => line,
            None => self.connect(&peer).await?,
        };
        let request = ChunkRequest { group: self.group, id: self.id, number };
        let idle_max = self.local.config.fetch_idle_max;
        let answer = match line.exchange(&request, idle_max).await {
            Ok(frame) => understand(frame, number),
            Err(cut) => Err(cut),
        };
        match answer {
            Ok(Ok(chunk)) => {
                self.line = Some(line);
                Ok(chunk)
            }
            Ok(Err(none)) => Err(match none.reason {
                Reason::Gone => Trouble::Gone,
                Reason::Busy | Reason::Unreadable | Reason::Other(_) => {
                    Trouble::Broken(format!("it says: {}", none.sentence))
                }
            }),
            Err(cut) => {
                if let Some(fault) = cut.fault {
                    peer.counters().faults.add(fault);
                }
                Err(Trouble::Broken(cut.why))
            }
        }
    }

    fn is_damaged(&mut self) {
        self.local.snapshots().damaged += 1;
    }

    fn is_taken(&mut self, bytes: u64) {
        self.local.snapshots().fetched.add(bytes);
    }
}

impl Caller {
    async fn connect(&self, peer: &Peer) -> Result<Line, Trouble> {
        let address = match &*peer.whereabouts.borrow() {
            Whereabouts::At(address) => address.clone(),
            Whereabouts::Unknown | Whereabouts::Gone => {
                return Err(Trouble::Broken("nobody told where it listens".to_owned()));
            }
        };
        let dialled = connect_for(&self.local, peer.node, &address, Purpose::Chunks).await;
        let (stream, welcome) = dialled.map_err(|error| {
            if let DialError::Handshake(error) = &error
                && let Some(fault) = error.fault()
            {
                peer.counters().faults.add(fault);
            }
            Trouble::Broken(format!("not reached at {address}: {error}"))
        })?;
        let shown = welcome.identity.peer.incarnation;
        if !peer.is_accepted(shown) {
            let why = format!("it shows incarnation {shown}, the membership has recorded another");
            return Err(Trouble::Broken(why));
        }
        let (reads, requests) = stream.into_split();
        let answers = FrameReader::new(reads, welcome.version, ANSWER_BYTES_MAX);
        Ok(Line { answers, requests, version: welcome.version })
    }
}

/// Why a connection is of no more use.
struct Cut {
    fault: Option<Fault>,
    why: String,
}

impl Cut {
    fn io(error: &std::io::Error) -> Self {
        Self { fault: None, why: format!("the connection broke: {error}") }
    }

    fn silent(limit: Duration) -> Self {
        Self { fault: Some(Fault::Silent), why: format!("nothing came for {limit:?}") }
    }
}

impl From<FrameError> for Cut {
    fn from(error: FrameError) -> Self {
        Self { fault: Some(error.fault()), why: error.to_string() }
    }
}

impl Line {
    /// Writes a request and reads its answer, for as long as something comes.
    async fn exchange(&mut self, request: &ChunkRequest, idle_max: Duration) -> Result<Frame, Cut> {
        let mut out = BytesMut::new();
        put_frame(&mut out, Kind::ChunkRequest, self.version, |out| request.encode(out));
        match timeout(idle_max, self.requests.write_all(&out)).await {
            Ok(written) => written.map_err(|error| Cut::io(&error))?,
            Err(_) => return Err(Cut::silent(idle_max)),
        }
        self.answers.limit(bytes_max(request.number) + ANSWER_BYTES_MAX);
        loop {
            if let Some(frame) = self.answers.next()? {
                return Ok(frame);
            }
            match timeout(idle_max, self.answers.read()).await {
                Ok(read) => read.map_err(|error| Cut::io(&error))?,
                Err(_) => return Err(Cut::silent(idle_max)),
            }
        }
    }
}

/// The chunk of this number, or why there is none.
fn understand(frame: Frame, number: u32) -> Result<Result<Chunk, NoChunk>, Cut> {
    let (answer, found) = match frame.kind {
        Kind::Chunk => {
            let chunk = decode_chunk(frame.body).map_err(FrameError::Body)?;
            let found = chunk.number;
            (Ok(chunk), found)
        }
        Kind::NoChunk => {
            let none = NoChunk::decode(frame.body).map_err(FrameError::Body)?;
            let found = none.number;
            (Err(none), found)
        }
        Kind::Hello
        | Kind::Welcome
        | Kind::Refusal
        | Kind::Envelope
        | Kind::Ping
        | Kind::Pong
        | Kind::ChunkRequest => return Err(FrameError::misplaced(frame.kind).into()),
    };
    if found == number {
        Ok(answer)
    } else {
        let why = format!("it answers for chunk {found}, asked for was chunk {number}");
        Err(Cut { fault: Some(Fault::Misplaced), why })
    }
}
