//! Snapshots over real sockets: the bytes that are spoken, the bounds, and what nonsense does.
//! That all transports bring them is in `raft_net::contract`.

use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use raft_core::{
    Chunk, ChunkSink, ChunkStore, ClusterId, FetchOutcome, GroupId, Incarnation, SnapshotError,
    SnapshotId,
};
use raft_net::{CHUNK_BYTES_MAX, Fault, InboxLimits, TcpConfig, TcpTransport, Transport};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::common::{Arrivals, PATIENCE, eventually, identity, inbox, node, roster};
use crate::raw::{
    CHUNK, CHUNK_REQUEST, ENVELOPE, HELLO, Hello, NO_CHUNK, PING, Raw, WELCOME, frame,
};
use crate::tcp::{address, start};

const GROUP: GroupId = GroupId::new(300);
const SNAPSHOT: SnapshotId = SnapshotId::new(0xabcd);

/// Gives chunks, once its gate is open.
pub(crate) struct Store {
    chunks: Vec<Chunk>,
    is_open: Mutex<bool>,
    opened: Condvar,
}

impl Store {
    pub(crate) fn new(contents: &[&[u8]]) -> Arc<Self> {
        let contents = contents.iter().map(|bytes| bytes.to_vec().into());
        let chunks = (0..).zip(contents).map(|(number, bytes)| Chunk::new(number, bytes));
        let is_open = Mutex::new(true);
        Arc::new(Self { chunks: chunks.collect(), is_open, opened: Condvar::new() })
    }

    fn gate(&self) -> MutexGuard<'_, bool> {
        self.is_open.lock().expect("nobody panics with it")
    }

    pub(crate) fn open(&self, is_open: bool) {
        *self.gate() = is_open;
        self.opened.notify_all();
    }
}

impl ChunkStore for Store {
    fn chunk(&self, group: GroupId, id: SnapshotId, number: u32) -> Result<Chunk, SnapshotError> {
        drop(self.opened.wait_while(self.gate(), |is_open| !*is_open));
        if (group, id) != (GROUP, SNAPSHOT) {
            return Err(SnapshotError::Gone);
        }
        self.chunks.get(number as usize).cloned().ok_or(SnapshotError::Gone)
    }
}

struct Sink(BTreeSet<u32>, Option<oneshot::Sender<FetchOutcome>>);

impl ChunkSink for Sink {
    fn wanted(&self) -> Option<u32> {
        self.0.first().copied()
    }

    fn accept(&mut self, chunk: Chunk) -> Result<(), SnapshotError> {
        assert!(chunk.verify(), "damage is not shown");
        self.0.remove(&chunk.number);
        Ok(())
    }

    fn close(mut self: Box<Self>, outcome: FetchOutcome) {
        // Whoever waits may have ended.
        drop(self.1.take().expect("closed once").send(outcome));
    }
}

/// Begins to fetch so many chunks from this node.
pub(crate) fn fetch(by: &dyn Transport, from: u64, chunks: u32) -> oneshot::Receiver<FetchOutcome> {
    let (closed, outcome) = oneshot::channel();
    by.fetch(node(from), GROUP, SNAPSHOT, Box::new(Sink((0..chunks).collect(), Some(closed))));
    outcome
}

pub(crate) async fn end(outcome: oneshot::Receiver<FetchOutcome>) -> FetchOutcome {
    tokio::time::timeout(PATIENCE, outcome).await.expect("in time").expect("it is closed")
}

/// Node 1 fetches from node 2, set up as told.
async fn pair(one: TcpConfig, two: TcpConfig) -> [(TcpTransport, Arrivals); 2] {
    let (one, mut at_one) = start(1, one, InboxLimits::default());
    let (two, at_two) = start(2, two, InboxLimits::default());
    one.set_roster(roster(&[(2, &address(&two).to_string())]));
    at_one.up(node(2)).await;
    [(one, at_one), (two, at_two)]
}

/// A stranger introduces itself to node 1 as somebody who fetches.
async fn caller(one: &TcpTransport) -> Raw {
    let mut raw = Raw::connect(address(one)).await;
    raw.write(&Hello { class: 2, ..HELLO }.bytes()).await;
    assert_eq!(raw.frame().await.0, WELCOME);
    raw
}

/// The body of a request for a chunk of our snapshot: group, id, number.
fn request(number: u8) -> Vec<u8> {
    [&[0xac, 0x02, 0xcd, 0xab][..], &[0; 14], &[number]].concat()
}

/// The bytes of the document, written by hand, are understood, and answered with those of the
/// document.
#[tokio::test]
async fn the_written_format_of_chunks_is_the_spoken_one() {
    let (one, _at_one) = start(1, TcpConfig::default(), InboxLimits::default());
    let mut raw = caller(&one).await;
    raw.write(&frame(CHUNK_REQUEST, 1, &request(2))).await;
    let (kind, body) = raw.frame().await;
    assert_eq!((kind, &body[..2]), (NO_CHUNK, &[2, 1][..]), "without a store it is gone");
    assert_eq!(&body[3..], b"the snapshot is not here any more");

    one.serve(Store::new(&[b"manifest", b"", b"123456789"]));
    raw.write(
        &[frame(CHUNK_REQUEST, 1, &request(2)), frame(CHUNK_REQUEST, 1, &request(1))].concat(),
    )
    .await;
    let document = [&[2, 0x83, 0x92, 0x06, 0xe3][..], b"123456789"].concat();
    assert_eq!(raw.frame().await, (CHUNK, document));
    assert_eq!(raw.frame().await, (CHUNK, vec![1, 0, 0, 0, 0]), "an empty chunk");
    raw.write(&frame(CHUNK_REQUEST, 1, &request(3))).await;
    assert_eq!(raw.frame().await.0, NO_CHUNK, "there is no such chunk");
    let counted = one.stats().snapshots;
    assert_eq!((counted.served.chunks, counted.served.bytes, counted.missed), (2, 9, 2));
}

/// Each kind of nonsense from a node that fetches closes its connection and is counted.
#[tokio::test]
async fn nonsense_of_who_fetches_is_counted() {
    let (one, _at_one) = start(1, TcpConfig::default(), InboxLimits::default());
    one.serve(Store::new(&[b"manifest"]));
    let mut corrupt = frame(CHUNK_REQUEST, 1, &request(0));
    *corrupt.last_mut().unwrap() ^= 1;
    let cases = [
        (corrupt, Fault::Checksum),
        (frame(PING, 1, b"12345678"), Fault::Kind),
        (frame(ENVELOPE, 1, b"message"), Fault::Kind),
        (frame(CHUNK, 1, b"chunk"), Fault::Kind),
        (frame(CHUNK_REQUEST, 2, &request(0)), Fault::Version),
        (frame(CHUNK_REQUEST, 1, &[0; 65]), Fault::Oversize),
        (frame(CHUNK_REQUEST, 1, &request(0)[..18]), Fault::Malformed),
        (frame(CHUNK_REQUEST, 1, &[&request(0)[..], b"more"].concat()), Fault::Malformed),
    ];
    let count = cases.len() as u64;
    for (nonsense, fault) in cases {
        let faults = || one.stats().peers.get(&node(9)).map_or(0, |p| p.faults.count(fault));
        let before = faults();
        let mut raw = caller(&one).await;
        raw.write(&nonsense).await;
        raw.closed().await;
        eventually(|| faults() == before + 1).await;
    }
    assert_eq!(one.stats().peers[&node(9)].faults.total(), count);
    eventually(|| one.stats().snapshots.serving == 0).await;

    let mut messenger = Raw::connect(address(&one)).await;
    messenger.write(&HELLO.bytes()).await;
    messenger.write(&frame(CHUNK_REQUEST, 1, &request(0))).await;
    messenger.closed().await;
    let kinds = || one.stats().peers[&node(9)].faults.count(Fault::Kind);
    assert_eq!(kinds(), 4, "requests have no place among messages");
}

/// A node that answers nonsense breaks the fetch and is counted; it brings nobody down.
#[tokio::test]
async fn nonsense_of_who_serves_is_counted() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (one, _at_one) = start(1, TcpConfig::default(), InboxLimits::default());
    let place = listener.local_addr().unwrap().to_string();
    one.set_roster(roster(&[(2, &place)]));
    let mut corrupt = frame(CHUNK, 1, &[0, 0, 0, 0, 0]);
    *corrupt.last_mut().unwrap() ^= 1;
    let long = vec![0; (17 << 20) + 1];
    let cases = [
        (corrupt, Some(Fault::Checksum)),
        (frame(PING, 1, b"12345678"), Some(Fault::Kind)),
        (frame(CHUNK, 7, &[0, 0, 0, 0, 0]), Some(Fault::Version)),
        (frame(CHUNK, 1, &long)[..20].to_vec(), Some(Fault::Oversize)),
        (frame(CHUNK, 1, &[0, 0]), Some(Fault::Malformed)),
        (frame(CHUNK, 1, &[1, 0, 0, 0, 0]), Some(Fault::Misplaced)),
        (frame(NO_CHUNK, 1, &[1, 1, 0]), Some(Fault::Misplaced)),
        (frame(NO_CHUNK, 1, &[0, 99, 0]), None),
        (frame(NO_CHUNK, 1, &[0, 2, 0]), None),
    ];
    for (i, (answer, fault)) in (1..).zip(cases) {
        let faults = |fault| one.stats().peers[&node(2)].faults.count(fault);
        let before = fault.map(faults);
        let outcome = fetch(&one, 2, 1);
        let _served = serve_raw(&listener, 2, &answer).await;
        assert_eq!(end(outcome).await, FetchOutcome::Broken, "{fault:?}");
        assert_eq!(fault.map(faults), before.map(|before| before + 1), "{fault:?}");
        assert_eq!(one.stats().snapshots.broken, i);
    }
    let outcome = fetch(&one, 2, 1);
    let _served = serve_raw(&listener, 2, &frame(NO_CHUNK, 1, &[0, 1, 0])).await;
    assert_eq!(end(outcome).await, FetchOutcome::Gone);
    let outcome = fetch(&one, 2, 1);
    let _served = serve_raw(&listener, 3, &[]).await;
    assert_eq!(end(outcome).await, FetchOutcome::Broken, "it lets us in as somebody else");
}

/// Who fetches and asks for nothing is hung up on; who serves and stops in the middle of an answer
/// breaks the fetch. Both are counted.
#[tokio::test]
async fn silence_ends_a_fetch_at_either_end() {
    let config = TcpConfig { fetch_idle_max: Duration::from_millis(200), ..TcpConfig::default() };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (one, _at_one) = start(1, config, InboxLimits::default());
    let mut mute = caller(&one).await;
    mute.closed().await;
    let silent = |id| one.stats().peers[&node(id)].faults.count(Fault::Silent);
    eventually(|| silent(9) == 1).await;
    assert_eq!(one.stats().snapshots.serving, 0);

    one.set_roster(roster(&[(2, &listener.local_addr().unwrap().to_string())]));
    let outcome = fetch(&one, 2, 1);
    let _served = serve_raw(&listener, 2, &frame(CHUNK, 1, &[0, 0, 0, 0, 0])[..7]).await;
    assert_eq!(end(outcome).await, FetchOutcome::Broken);
    assert!(silent(2) >= 1, "dials for messages that nobody accepts may add to it");
}

/// Plays the node that is dialled: lets the next one in that fetches, as node `id`, hears its
/// request and answers it. Connections for messages are hung up on.
async fn serve_raw(listener: &tokio::net::TcpListener, id: u8, answer: &[u8]) -> Raw {
    loop {
        let accepted = tokio::time::timeout(PATIENCE, listener.accept()).await;
        let (stream, _) = accepted.expect("in time").expect("somebody dials");
        let mut raw = Raw(stream);
        raw.preface().await;
        let (_, hello) = raw.frame().await;
        // Versions, cluster, node, incarnation, wanted node; then what the connection is for.
        if hello[36] != 2 {
            continue;
        }
        let body =
            [&[1][..], &0xc1u128.to_le_bytes(), &[id], &u128::from(id).to_le_bytes()].concat();
        raw.write(&frame(WELCOME, 1, &body)).await;
        if id != 2 {
            return raw;
        }
        assert_eq!(raw.frame().await, (CHUNK_REQUEST, request(0)));
        raw.write(answer).await;
        return raw;
    }
}

/// A fetch that takes longer than the limit of silence goes on, as long as something comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_fetch_is_not_a_silent_one() {
    let idle_max = Duration::from_millis(1_500);
    let fast = TcpConfig { fetch_idle_max: idle_max, ..TcpConfig::default() };
    let slow = TcpConfig { fetch_bytes_per_second_max: 100_000, ..fast.clone() };
    let [(one, _at_one), (two, _at_two)] = pair(fast, slow).await;
    let content = vec![7; 200_000];
    two.serve(Store::new(&[&content]));
    let begin = Instant::now();
    assert_eq!(end(fetch(&one, 2, 1)).await, FetchOutcome::Complete);
    assert!(begin.elapsed() > idle_max, "one chunk took longer than silence may");
    assert_eq!(one.stats().snapshots.fetched.bytes, 200_000);
}

/// Of two that fetch from a node with one place, one is told that it is busy; the place is free
/// again once the first has what it wanted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_so_many_are_served_at_once() {
    let config = TcpConfig { serves_max: 1, ..TcpConfig::default() };
    let [(one, _at_one), (two, _at_two)] = pair(TcpConfig::default(), config).await;
    let store = Store::new(&[b"manifest", b"data"]);
    two.serve(Arc::clone(&store) as _);
    store.open(false);
    let first = fetch(&one, 2, 2);
    eventually(|| two.stats().snapshots.serving == 1).await;
    assert_eq!(end(fetch(&one, 2, 2)).await, FetchOutcome::Broken);
    assert_eq!((two.stats().snapshots.busy, one.stats().snapshots.fetching()), (1, 1));
    store.open(true);
    assert_eq!(end(first).await, FetchOutcome::Complete);
    eventually(|| two.stats().snapshots.serving == 0).await;
    assert_eq!(end(fetch(&one, 2, 2)).await, FetchOutcome::Complete);
    assert_eq!(two.stats().peers[&node(1)].faults.total(), 0, "that is nobody's fault");
}

/// A chunk that no frame holds is not sent, and the fetch is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chunk_beyond_the_limit_is_not_sent() {
    let [(one, _at_one), (two, _at_two)] = pair(TcpConfig::default(), TcpConfig::default()).await;
    let bytes = usize::try_from(CHUNK_BYTES_MAX).unwrap();
    let (manifest, largest, too_large) = (vec![1; 4 << 20], vec![2; bytes], vec![3; bytes + 1]);
    two.serve(Store::new(&[&manifest, &largest, &too_large]));
    assert_eq!(end(fetch(&one, 2, 2)).await, FetchOutcome::Complete);
    assert_eq!(end(fetch(&one, 2, 3)).await, FetchOutcome::Broken);
    assert_eq!(two.stats().snapshots.unreadable, 1);
}

/// A node that leaves the roster is hung up on at either end of a fetch; and one whose recorded
/// incarnation is another is neither served nor fetched from.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_roster_ends_fetches() {
    let [(one, _at_one), (two, mut at_two)] =
        pair(TcpConfig::default(), TcpConfig::default()).await;
    at_two.up(node(1)).await;
    let (at_one, at_two) = (address(&one).to_string(), address(&two).to_string());
    two.set_roster(roster(&[(1, &at_one)]));
    let store = Store::new(&[b"manifest", b"data"]);
    two.serve(Arc::clone(&store) as _);
    for ends_at_one in [true, false] {
        store.open(false);
        let under_way = fetch(&one, 2, 2);
        eventually(|| two.stats().snapshots.serving == 1).await;
        let (leaving, others) = if ends_at_one { (&one, &at_two) } else { (&two, &at_one) };
        leaving.set_roster(roster(&[]));
        assert_eq!(end(under_way).await, FetchOutcome::Broken);
        store.open(true);
        leaving.set_roster(roster(&[(if ends_at_one { 2 } else { 1 }, others)]));
        eventually(|| two.stats().snapshots.serving == 0).await;
        assert_eq!(end(fetch(&one, 2, 2)).await, FetchOutcome::Complete);
        eventually(|| two.stats().snapshots.serving == 0).await;
    }
    for (by, other, place) in [(&two, 1, &at_one), (&one, 2, &at_two)] {
        let mut known = roster(&[(other, place)]);
        known.get_mut(&node(other)).unwrap().incarnation = Some(Incarnation::new(0xbad));
        by.set_roster(known);
        assert_eq!(end(fetch(&one, 2, 2)).await, FetchOutcome::Broken);
        by.set_roster(roster(&[(other, place)]));
        assert_eq!(end(fetch(&one, 2, 2)).await, FetchOutcome::Complete);
    }
}

/// A node of another cluster is refused when it fetches, as with messages.
#[tokio::test]
async fn another_cluster_fetches_nothing() {
    let (one, _at_one) = start(1, TcpConfig::default(), InboxLimits::default());
    let store = Store::new(&[b"manifest"]);
    one.serve(store);
    let foreign = TcpTransport::new(TcpConfig::default());
    let (inbox, mut arrivals) = inbox(InboxLimits::default());
    let mut identity = identity(2);
    identity.cluster = ClusterId::new(0xc2);
    foreign.start(identity, inbox).unwrap();
    foreign.set_roster(roster(&[(1, &address(&one).to_string())]));
    arrivals.refusal().await;
    assert_eq!(end(fetch(&foreign, 1, 1)).await, FetchOutcome::Broken);
    assert_eq!(one.stats().snapshots.served.chunks, 0);
}

/// Once `stopped` returns, every sink was closed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_waits_until_sinks_are_closed() {
    let [(one, _at_one), (two, _at_two)] = pair(TcpConfig::default(), TcpConfig::default()).await;
    let store = Store::new(&[b"manifest", b"data"]);
    two.serve(Arc::clone(&store) as _);
    store.open(false);
    let mut outcomes: Vec<_> = (0..3).map(|_| fetch(&one, 2, 2)).collect();
    eventually(|| two.stats().snapshots.serving == 3).await;
    one.stop();
    tokio::time::timeout(PATIENCE, one.stopped()).await.expect("all tasks end");
    for outcome in &mut outcomes {
        assert_eq!(outcome.try_recv(), Ok(FetchOutcome::Broken));
    }
    store.open(true);
}
