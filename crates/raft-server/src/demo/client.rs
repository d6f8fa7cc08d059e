//! A client of the demo: writes without pause, notes what it was told, goes on elsewhere when a
//! member is gone.
//!
//! A write is never sent twice: after a failure the next write is a new one with a key and a value
//! of its own, so that what is found in the end has one explanation. Read next: `judge.rs`.

use std::error::Error as _;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use raft_api::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use raft_api::etcdserverpb::kv_client::KvClient;
use raft_api::etcdserverpb::{
    Compare, PutRequest, RangeRequest, RequestOp, TxnRequest, TxnResponse, request_op, response_op,
};
use raft_api::tonic::transport::{Channel, Endpoint};
use raft_api::tonic::{Code, Status};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::history::{Kind, Outcome, Write};
use crate::clock;

/// What all clients share.
#[derive(Debug)]
pub(super) struct Run {
    started: Instant,
    is_over: AtomicBool,
    acked: AtomicU64,
    /// Acknowledged writes by the member that answered.
    by_member: Vec<AtomicU64>,
    is_armed: AtomicBool,
    watch: Mutex<Option<Watch>>,
}

/// Waits for the first acknowledgement of a write sent after some moment.
#[derive(Debug)]
struct Watch {
    since: Instant,
    found: oneshot::Sender<Instant>,
}

impl Run {
    pub(super) fn new(members: usize) -> Arc<Self> {
        Arc::new(Self {
            started: clock::now(),
            is_over: AtomicBool::new(false),
            acked: AtomicU64::new(0),
            by_member: (0..members).map(|_| AtomicU64::new(0)).collect(),
            is_armed: AtomicBool::new(false),
            watch: Mutex::new(None),
        })
    }

    /// Acknowledged writes so far.
    pub(super) fn acked(&self) -> u64 {
        self.acked.load(Ordering::Relaxed)
    }

    /// Acknowledged writes so far, by the member that answered.
    pub(super) fn acked_by(&self) -> Vec<u64> {
        self.by_member.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }

    /// Since the run began.
    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Tells all clients to finish the write they are at.
    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// Gives the moment of the first acknowledgement of a write that is sent from now on.
    pub(super) fn next_service(&self) -> oneshot::Receiver<Instant> {
        let (found, receiver) = oneshot::channel();
        let watch = Watch { since: clock::now(), found };
        *self.watch.lock().unwrap_or_else(PoisonError::into_inner) = Some(watch);
        self.is_armed.store(true, Ordering::Release);
        receiver
    }

    fn acknowledged(&self, member: usize, sent: Instant) {
        self.acked.fetch_add(1, Ordering::Relaxed);
        self.by_member[member].fetch_add(1, Ordering::Relaxed);
        if !self.is_armed.load(Ordering::Acquire) {
            return;
        }
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = watch.take_if(|watch| watch.since <= sent) {
            self.is_armed.store(false, Ordering::Release);
            // Who asked may have given up.
            _ = found.found.send(clock::now());
        }
    }
}

/// One client.
pub(super) struct Client {
    id: u32,
    run: Arc<Run>,
    members: Vec<KvClient<Channel>>,
    /// The member it talks to.
    at: usize,
    writes: u64,
    /// The `mod_revision` of each shared key, as far as this client knows; 0 for none.
    known: [i64; SHARED_KEYS],
    history: Vec<Write>,
}

/// A connection that is made when it is first used, and again when it broke.
pub(super) fn connect(url: &str) -> Channel {
    let endpoint = Endpoint::from_shared(url.to_owned());
    // The URLs are made from ports by this program.
    let endpoint = endpoint.unwrap_or_else(|_| Endpoint::from_static("http://127.0.0.1:0"));
    endpoint.connect_timeout(CONNECT_LIMIT).connect_lazy()
}

impl Client {
    /// A client that begins with the member at `id` modulo their number.
    pub(super) fn new(id: u32, run: Arc<Run>, urls: &[String]) -> Self {
        let members: Vec<_> = urls.iter().map(|url| KvClient::new(connect(url))).collect();
        let at = id as usize % members.len();
        Self { id, run, members, at, writes: 0, known: [0; SHARED_KEYS], history: Vec::new() }
    }

    /// Writes until the run is over; gives all it did.
    pub(super) async fn work(mut self) -> Vec<Write> {
        while !self.run.is_over.load(Ordering::Relaxed) {
            if self.write().await.is_err() {
                self.at = (self.at + 1) % self.members.len();
                sleep(PAUSE).await;
            }
        }
        self.history
    }

    /// Writes once: a client that arrives at a bad moment.
    pub(super) async fn visit(mut self) -> Vec<Write> {
        // What became of it is in the history.
        _ = self.write().await;
        self.history
    }

    /// Writes once and notes what it was told.
    async fn write(&mut self) -> Result<(), Failure> {
        self.writes += 1;
        let value = format!("{}-{}", self.id, self.writes);
        let sent = clock::now();
        let (key, kind, answer) = if let Some(index) = self.shared_key() {
            let key = format!("{PREFIX}shared/{index}");
            let over = self.known[index];
            let answer = self.swap(&key, &value, index).await;
            (key, Kind::Swap { over }, answer)
        } else {
            let key = format!("{PREFIX}own/{value}");
            let answer = self.put(&key, &value).await;
            (key, Kind::Put, answer)
        };
        let answered = clock::now();
        let outcome = answer.as_ref().map_or_else(Failure::outcome, |outcome| *outcome);
        if matches!(outcome, Outcome::Applied { .. }) {
            self.run.acknowledged(self.at, sent);
        }
        self.history.push(Write {
            client: self.id,
            key,
            value,
            kind,
            sent: sent.duration_since(self.run.started),
            answered: answered.duration_since(self.run.started),
            outcome,
        });
        answer.map(drop)
    }

    /// The shared key whose turn it is, for every few writes.
    fn shared_key(&self) -> Option<usize> {
        let turn = self.writes / SHARED_EVERY + u64::from(self.id);
        let index = usize::try_from(turn % SHARED_KEYS as u64).ok()?;
        self.writes.is_multiple_of(SHARED_EVERY).then_some(index)
    }

    async fn put(&mut self, key: &str, value: &str) -> Result<Outcome, Failure> {
        let request = PutRequest {
            key: key.to_owned().into(),
            value: value.to_owned().into(),
            ..PutRequest::default()
        };
        let answer = timeout(REQUEST_LIMIT, self.members[self.at].put(request)).await;
        let answer = answer.map_err(|_| Failure::Silence)?.map_err(Failure::Refusal)?;
        let revision = answer.into_inner().header.map_or(0, |header| header.revision);
        Ok(Outcome::Applied { revision })
    }

    /// Compare-and-set over the revision this client knows.
    async fn swap(&mut self, key: &str, value: &str, index: usize) -> Result<Outcome, Failure> {
        let request = swap_request(key, value, self.known[index]);
        let answer = timeout(REQUEST_LIMIT, self.members[self.at].txn(request)).await;
        let answer = answer.map_err(|_| Failure::Silence)?.map_err(Failure::Refusal)?;
        let answer = answer.into_inner();
        if !answer.succeeded {
            self.known[index] = found_revision(&answer);
            return Ok(Outcome::NotApplied);
        }
        let revision = answer.header.map_or(0, |header| header.revision);
        self.known[index] = revision;
        Ok(Outcome::Applied { revision })
    }
}

fn swap_request(key: &str, value: &str, over: i64) -> TxnRequest {
    let compare = Compare {
        result: CompareResult::Equal.into(),
        target: CompareTarget::Mod.into(),
        key: key.to_owned().into(),
        target_union: Some(TargetUnion::ModRevision(over)),
        ..Compare::default()
    };
    let put = PutRequest {
        key: key.to_owned().into(),
        value: value.to_owned().into(),
        ..PutRequest::default()
    };
    let range = RangeRequest { key: key.to_owned().into(), ..RangeRequest::default() };
    let op = |request| RequestOp { request: Some(request) };
    TxnRequest {
        compare: vec![compare],
        success: vec![op(request_op::Request::RequestPut(put))],
        failure: vec![op(request_op::Request::RequestRange(range))],
    }
}

/// The revision of the key that a lost race read instead; 0 if there is none.
fn found_revision(answer: &TxnResponse) -> i64 {
    let ops = answer.responses.iter().filter_map(|op| op.response.as_ref());
    let keys = ops.filter_map(|op| match op {
        response_op::Response::ResponseRange(range) => range.kvs.first(),
        response_op::Response::ResponsePut(_)
        | response_op::Response::ResponseDeleteRange(_)
        | response_op::Response::ResponseTxn(_) => None,
    });
    keys.map(|kv| kv.mod_revision).next().unwrap_or(0)
}

/// Why a write has no answer.
#[derive(Debug)]
enum Failure {
    /// None came in time.
    Silence,
    /// The member or the connection said no.
    Refusal(Status),
}

impl Failure {
    /// Only what cannot have happened counts as not applied.
    fn outcome(&self) -> Outcome {
        let Self::Refusal(status) = self else { return Outcome::Unknown };
        if was_never_sent(status) {
            return Outcome::NotApplied;
        }
        match status.code() {
            Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::Unauthenticated => Outcome::NotApplied,
            // "too many requests" is certain, but a full store may have applied what it refuses.
            Code::ResourceExhausted if status.message().contains("too many requests") => {
                Outcome::NotApplied
            }
            Code::Ok
            | Code::Cancelled
            | Code::Unknown
            | Code::DeadlineExceeded
            | Code::ResourceExhausted
            | Code::Aborted
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss => Outcome::Unknown,
        }
    }
}

/// Whether no connection was made at all. Only `connect` reports a refused connection; a
/// connection that breaks later is reset or closed.
fn was_never_sent(status: &Status) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        if error
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
        {
            return true;
        }
        cause = error.source();
    }
    false
}

/// All keys of the demo begin with this.
pub(super) const PREFIX: &str = "demo/";

/// The key after all keys of the demo.
pub(super) const PREFIX_END: &str = "demo0";

/// Keys that all clients fight for.
const SHARED_KEYS: usize = 8;

/// Every so many writes of a client go to a shared key.
const SHARED_EVERY: u64 = 8;

/// A local connection is made at once or not at all.
const CONNECT_LIMIT: Duration = Duration::from_millis(500);

/// Longer than an election; then the client gives up and does not know.
const REQUEST_LIMIT: Duration = Duration::from_secs(3);

/// Between a failure and the next write, so that a cluster without leader is not flooded.
const PAUSE: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: Status) -> Outcome {
        Failure::Refusal(status).outcome()
    }

    /// Only refusals that cannot have been applied count as such; all else stays unknown.
    #[test]
    fn outcomes_are_judged_with_care() {
        assert_eq!(Failure::Silence.outcome(), Outcome::Unknown);
        assert_eq!(refused(Status::unavailable("etcdserver: no leader")), Outcome::Unknown);
        assert_eq!(refused(Status::unknown("h2 protocol error")), Outcome::Unknown);
        assert_eq!(refused(Status::invalid_argument("etcdserver: x")), Outcome::NotApplied);
        let busy = Status::resource_exhausted("etcdserver: too many requests");
        assert_eq!(refused(busy), Outcome::NotApplied);
        let full = Status::resource_exhausted("etcdserver: mvcc: database space exceeded");
        assert_eq!(refused(full), Outcome::Unknown);
        let mut status = Status::unavailable("tcp connect error");
        assert_eq!(refused(status.clone()), Outcome::Unknown);
        status.set_source(Arc::new(io::Error::from(io::ErrorKind::ConnectionRefused)));
        assert_eq!(refused(status), Outcome::NotApplied);
    }

    /// A write that was under way when the watch began does not end it; a later one does.
    #[test]
    fn service_is_back_when_a_later_write_is_acknowledged() {
        let run = Run::new(1);
        let before = clock::now();
        let mut back = run.next_service();
        run.acknowledged(0, before);
        assert!(back.try_recv().is_err(), "it was sent before");
        run.acknowledged(0, clock::now());
        assert!(back.try_recv().is_ok());
        assert_eq!((run.acked(), run.acked_by()), (2, vec![2]));
    }
}
