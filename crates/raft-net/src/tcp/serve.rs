//! The end of a chunk connection that is dialled: reads requests, looks into the store, answers.
//!
//! * So many nodes are served at once, so many bytes a second are written to all of them together:
//!   a snapshot takes its time, votes and entries do not.
//! * A node that asks for nothing, or takes nothing in, is hung up on; it comes back if it lives.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use bytes::BytesMut;
use raft_core::{ChunkStore, Peer as Sender, SnapshotError};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::debug;

use super::fetch::is_gone;
use super::peer::Peer;
use super::{Local, TcpConfig, now};
use crate::chunk::{ChunkRequest, NoChunk, REQUEST_BYTES_MAX, Reason, encode_chunk};
use crate::fetch::{blocking, bytes_max};
use crate::frame::{FrameError, FrameReader, Kind, put_frame};
use crate::stats::Fault;

/// What this node serves from, and within which bounds.
pub(super) struct Shop {
    store: RwLock<Option<Arc<dyn ChunkStore>>>,
    places: Arc<Semaphore>,
    pace: Pace,
}

impl Shop {
    pub(super) fn new(config: &TcpConfig) -> Self {
        let places = config.serves_max.min(Semaphore::MAX_PERMITS);
        Self {
            store: RwLock::default(),
            places: Arc::new(Semaphore::new(places)),
            pace: Pace::new(config.fetch_bytes_per_second_max),
        }
    }

    pub(super) fn set(&self, store: Option<Arc<dyn ChunkStore>>) {
        *self.store.write().unwrap_or_else(PoisonError::into_inner) = store;
    }

    fn store(&self) -> Option<Arc<dyn ChunkStore>> {
        self.store.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for Shop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has_store = self.store().is_some();
        f.debug_struct("Shop").field("has_store", &has_store).finish_non_exhaustive()
    }
}

/// One connection on which another node fetches.
pub(super) struct Serve {
    pub(super) local: Arc<Local>,
    pub(super) peer: Arc<Peer>,
    pub(super) sender: Sender,
    pub(super) version: u8,
}

/// Why a node is served no longer.
enum Leave {
    /// It hung up, or the network did.
    Io(io::Error),
    /// It asked for nothing, or took nothing in, for this long.
    Silent(Duration),
    /// It asked for nonsense.
    Frame(FrameError),
    /// There is no place for it.
    Busy,
    /// The roster does not name it any more, or another incarnation of it.
    Unwelcome,
}

impl fmt::Display for Leave {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => fmt::Display::fmt(error, f),
            Self::Silent(limit) => write!(f, "it did nothing for {limit:?}"),
            Self::Frame(error) => fmt::Display::fmt(error, f),
            Self::Busy => f.write_str("enough nodes are served already"),
            Self::Unwelcome => f.write_str("the roster has changed"),
        }
    }
}

/// A place among those that are served, while it is held.
struct Place {
    local: Arc<Local>,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    fn take(local: &Arc<Local>) -> Option<Self> {
        let permit = Arc::clone(&local.shop.places).try_acquire_owned().ok()?;
        local.snapshots().serving += 1;
        Some(Self { local: Arc::clone(local), _permit: permit })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.local.snapshots().serving -= 1;
    }
}

impl Serve {
    /// Serves until the connection ends, and says so. `admission` is given back as soon as there is
    /// a place, so that those who wait for one are bounded too.
    pub(super) async fn run(self, stream: TcpStream, admission: OwnedSemaphorePermit) {
        let (reads, mut answers) = stream.into_split();
        let mut requests = FrameReader::new(reads, self.version, REQUEST_BYTES_MAX);
        let mut whereabouts = self.peer.whereabouts.subscribe();
        let leave = tokio::select! {
            _ = whereabouts.wait_for(is_gone) => Leave::Unwelcome,
            leave = self.serve(&mut requests, &mut answers, admission) => leave,
        };
        let me = self.local.me.peer.node;
        let fault = match &leave {
            Leave::Silent(_) => Fault::Silent,
            Leave::Frame(error) => error.fault(),
            Leave::Io(_) | Leave::Busy | Leave::Unwelcome => {
                debug!("{me} serves {} no longer: {leave}", self.sender);
                return;
            }
        };
        self.peer.counters().faults.add(fault);
        let line = format_args!("{me} serves {} no longer: {leave}", self.sender);
        self.peer.complaints.warn(line);
    }

    async fn serve(
        &self,
        requests: &mut FrameReader<OwnedReadHalf>,
        answers: &mut OwnedWriteHalf,
        admission: OwnedSemaphorePermit,
    ) -> Leave {
        let (place, idle_max) = (Place::take(&self.local), self.local.config.fetch_idle_max);
        let limit = if place.is_some() {
            drop(admission);
            idle_max
        } else {
            idle_max.min(self.local.config.handshake_time_max)
        };
        loop {
            let request = match timeout(limit, next_request(requests)).await {
                Ok(Ok(request)) => request,
                Ok(Err(leave)) => return leave,
                Err(_) => return Leave::Silent(limit),
            };
            if !self.peer.is_accepted(self.sender.incarnation) {
                return Leave::Unwelcome;
            }
            let mut out = BytesMut::new();
            let served_bytes = if place.is_some() {
                self.look_up(request, &mut out).await
            } else {
                self.local.snapshots().busy += 1;
                let sentence = Leave::Busy.to_string();
                self.refuse(request.number, Reason::Busy, sentence, &mut out)
            };
            if let Err(leave) = self.write(&out, answers, idle_max).await {
                return leave;
            }
            if let Some(bytes) = served_bytes {
                self.local.snapshots().served.add(bytes);
            }
            if place.is_none() {
                return Leave::Busy;
            }
        }
    }

    /// Puts the answer of the store into a frame; gives the bytes of the chunk, if there is one.
    async fn look_up(&self, request: ChunkRequest, out: &mut BytesMut) -> Option<u64> {
        let ChunkRequest { group, id, number } = request;
        let found = match self.local.shop.store() {
            Some(store) => blocking(move || store.chunk(group, id, number)).await,
            None => Some(Err(SnapshotError::Gone)),
        };
        match found {
            Some(Ok(chunk)) if chunk.bytes.len() as u64 <= bytes_max(number) => {
                put_frame(out, Kind::Chunk, self.version, |out| encode_chunk(&chunk, out));
                Some(chunk.bytes.len() as u64)
            }
            Some(Ok(chunk)) => {
                let (bytes, bytes_max) = (chunk.bytes.len(), bytes_max(number));
                let sentence =
                    format!("chunk {number} has {bytes} bytes, at most {bytes_max} are sent");
                self.local.snapshots().unreadable += 1;
                self.refuse(number, Reason::Unreadable, sentence, out)
            }
            Some(Err(SnapshotError::Gone)) => {
                self.local.snapshots().missed += 1;
                self.refuse(number, Reason::Gone, SnapshotError::Gone.to_string(), out)
            }
            Some(Err(error)) => {
                let me = self.local.me.peer.node;
                let line =
                    format_args!("{me} cannot read chunk {number} of snapshot {id}: {error}");
                self.local.complaints.warn(line);
                self.local.snapshots().unreadable += 1;
                self.refuse(number, Reason::Unreadable, error.to_string(), out)
            }
            // The runtime ends, and nobody will read this.
            None => self.refuse(number, Reason::Unreadable, String::new(), out),
        }
    }

    fn refuse(
        &self,
        number: u32,
        reason: Reason,
        sentence: String,
        out: &mut BytesMut,
    ) -> Option<u64> {
        let none = NoChunk { number, reason, sentence };
        put_frame(out, Kind::NoChunk, self.version, |out| none.encode(out));
        None
    }

    /// Writes slice by slice, each when its turn has come.
    async fn write(
        &self,
        out: &[u8],
        answers: &mut OwnedWriteHalf,
        idle_max: Duration,
    ) -> Result<(), Leave> {
        let pace = &self.local.shop.pace;
        for slice in out.chunks(pace.slice_bytes()) {
            if let Some(turn) = pace.turn(now(), slice.len()) {
                sleep_until(turn).await;
            }
            match timeout(idle_max, answers.write_all(slice)).await {
                Ok(written) => written.map_err(Leave::Io)?,
                Err(_) => return Err(Leave::Silent(idle_max)),
            }
        }
        Ok(())
    }
}

async fn next_request(requests: &mut FrameReader<OwnedReadHalf>) -> Result<ChunkRequest, Leave> {
    loop {
        let Some(frame) = requests.next().map_err(Leave::Frame)? else {
            requests.read().await.map_err(Leave::Io)?;
            continue;
        };
        if frame.kind != Kind::ChunkRequest {
            return Err(Leave::Frame(FrameError::misplaced(frame.kind)));
        }
        let request = ChunkRequest::decode(frame.body);
        return request.map_err(|error| Leave::Frame(FrameError::Body(error)));
    }
}

/// Bytes a second, for all who share it.
struct Pace {
    /// Zero: as fast as it goes.
    bytes_per_second: u64,
    /// When all that had a turn is paid for.
    paid: Mutex<Option<Instant>>,
}

/// A writer that comes late may catch up this much: timers are coarse.
const BURST: Duration = Duration::from_millis(50);

/// At most this much is written in one turn.
const SLICE_BYTES_MAX: u64 = 64 << 10;

/// With a very low rate, this many turns make a second, so that nobody waits long for a byte.
const SLICES_PER_SECOND: u64 = 10;

impl Pace {
    const fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second, paid: Mutex::new(None) }
    }

    fn slice_bytes(&self) -> usize {
        let bytes = match self.bytes_per_second {
            0 => SLICE_BYTES_MAX,
            rate => (rate / SLICES_PER_SECOND).clamp(1, SLICE_BYTES_MAX),
        };
        usize::try_from(bytes).expect("64 KiB fit into memory")
    }

    /// When so many bytes may be written; `None` for at once.
    fn turn(&self, now: Instant, bytes: usize) -> Option<Instant> {
        if self.bytes_per_second == 0 {
            return None;
        }
        let micros = (bytes as u64).saturating_mul(1_000_000) / self.bytes_per_second;
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        let turn = paid.map_or(earliest, |paid| paid.max(earliest));
        *paid = Some(turn + Duration::from_micros(micros));
        (turn > now).then_some(turn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Many turns of whoever take as long as their bytes, but for one burst; a pause is not saved
    /// up beyond that, and no rate means no waiting.
    #[tokio::test(start_paused = true)]
    async fn turns_add_up_to_the_rate() {
        let (pace, begin) = (Pace::new(1 << 20), now());
        let turns = (0..32).map(|_| pace.turn(begin, 64 << 10));
        let last = turns.last().flatten().expect("it has to wait");
        let waits = last - begin;
        let off = (waits + BURST).abs_diff(Duration::from_millis(31 * 1000 / 16));
        assert!(off < Duration::from_millis(2), "{waits:?} for 31 slices at 16 a second");

        let later = begin + Duration::from_secs(100);
        assert_eq!(pace.turn(later, 64 << 10), None, "a pause lets the next one pass");
        let second = pace.turn(later, 64 << 10).expect("62 ms are longer than the burst");
        assert!(second - later < Duration::from_millis(20));

        let free = Pace::new(0);
        assert!((0..1000).all(|_| free.turn(begin, usize::MAX).is_none()));
        assert_eq!(Pace::new(1).slice_bytes(), 1);
        assert_eq!(Pace::new(100_000).slice_bytes(), 10_000);
        assert_eq!(Pace::new(u64::MAX).slice_bytes(), 64 << 10);
    }
}
