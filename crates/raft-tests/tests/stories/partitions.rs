//! The network between members breaks: in two, in one direction only, and heals again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use raft_api::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use raft_api::etcdserverpb::request_op::Request;
use raft_api::etcdserverpb::{
    Compare, PutRequest, RequestOp, StatusRequest, StatusResponse, TxnRequest,
};
use raft_api::tonic::Status;
use raft_tests::{Client, Cluster, Failure, Load, Settings, eventually};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

const ELECTION: Duration = Duration::from_millis(250);

/// The time limit of a request: five seconds, and two elections.
const REQUEST_LIMIT: Duration = Duration::from_millis(5500);

/// Room for a busy machine.
const SLACK: Duration = Duration::from_secs(4);

async fn proxied() -> Cluster {
    let election_ms = u32::try_from(ELECTION.as_millis()).unwrap();
    Cluster::start(Settings { is_proxied: true, election_ms, ..Settings::default() }).await
}

/// A number that only grows, written through some members and read through all. A read that gives
/// less than what was acknowledged before it began is stale.
struct Register {
    tasks: JoinSet<()>,
    acknowledged: Arc<AtomicU64>,
    reads: Vec<Arc<AtomicU64>>,
}

const REGISTER: &str = "register";

impl Register {
    fn start(cluster: &Cluster, writers: &[usize]) -> Self {
        let acknowledged = Arc::new(AtomicU64::new(0));
        let reads: Vec<_> = (0..cluster.len()).map(|_| Arc::new(AtomicU64::new(0))).collect();
        let mut tasks = JoinSet::new();
        let clients: Vec<Client> = writers.iter().map(|member| cluster.client(*member)).collect();
        tasks.spawn(grow(clients, Arc::clone(&acknowledged)));
        for (member, count) in reads.iter().enumerate() {
            let (client, acknowledged) = (cluster.client(member), Arc::clone(&acknowledged));
            tasks.spawn(watch_closely(client, member, acknowledged, Arc::clone(count)));
        }
        Self { tasks, acknowledged, reads }
    }

    /// Successful linearizable reads through a member so far.
    fn reads(&self, member: usize) -> u64 {
        self.reads[member].load(Ordering::SeqCst)
    }

    /// Waits until something newer is acknowledged.
    async fn grown(&self) -> u64 {
        let before = self.acknowledged.load(Ordering::SeqCst);
        eventually("the register grows", || async {
            let now = self.acknowledged.load(Ordering::SeqCst);
            if now > before { Ok(now) } else { Err(now) }
        })
        .await
    }

    /// Fails if any read was stale.
    async fn stop(mut self) {
        while let Some(ended) = self.tasks.try_join_next() {
            ended.unwrap();
        }
        self.tasks.shutdown().await;
    }
}

/// Writes 1, 2, 3, …, each only over a smaller number: a late write cannot turn it back.
async fn grow(clients: Vec<Client>, acknowledged: Arc<AtomicU64>) {
    for number in 1.. {
        let value = format!("{number:020}");
        let put = PutRequest {
            key: REGISTER.into(),
            value: value.clone().into(),
            ..PutRequest::default()
        };
        let smaller = Compare {
            key: REGISTER.into(),
            target: CompareTarget::Value.into(),
            result: CompareResult::Less.into(),
            target_union: Some(TargetUnion::Value(value.into())),
            ..Compare::default()
        };
        let op = RequestOp { request: Some(Request::RequestPut(put)) };
        let txn = TxnRequest { compare: vec![smaller], success: vec![op], ..TxnRequest::default() };
        let turn = usize::try_from(number).unwrap() % clients.len();
        if clients[turn].txn(txn).await.is_ok_and(|answer| answer.succeeded) {
            acknowledged.fetch_max(number, Ordering::SeqCst);
        }
    }
}

/// Reads again and again; panics at a stale read.
async fn watch_closely(
    client: Client,
    member: usize,
    acknowledged: Arc<AtomicU64>,
    count: Arc<AtomicU64>,
) {
    loop {
        let least = acknowledged.load(Ordering::SeqCst);
        // Errors are allowed: only an answer can be wrong.
        let Ok(found) = client.read(REGISTER).await else { continue };
        let found: u64 = found.map_or(0, |value| value.parse().unwrap());
        assert!(found >= least, "member {member} answered {found} after {least} was acknowledged");
        count.fetch_add(1, Ordering::SeqCst);
    }
}

/// The error of a call, which must come within the time limit of a request.
async fn refused<T>(call: impl Future<Output = Result<T, Status>>) -> Failure {
    let begun = Instant::now();
    let answer = timeout(REQUEST_LIMIT + SLACK, call).await;
    let answer = answer.unwrap_or_else(|_| panic!("no answer for {:?}", begun.elapsed()));
    let Err(status) = answer else { panic!("a member without a majority answered") };
    let failure = Failure::of(&status);
    assert!(matches!(failure, Failure::Etcd(_)), "{failure}");
    failure
}

/// The leader alone is cut off from the other two. It commits nothing and answers no linearizable
/// read, but still tells what it has; the majority goes on. Healed, it follows and has everything.
/// All the while no read through any member was stale.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_without_a_majority_answers_nothing_that_could_be_wrong() {
    let cluster = proxied().await;
    cluster.client(0).write(REGISTER, &format!("{:020}", 0)).await.unwrap();
    let old = cluster.leader().await;
    let majority: Vec<usize> = (0..3).filter(|member| *member != old).collect();
    let register = Register::start(&cluster, &majority);
    register.grown().await;

    cluster.network().isolate(old);
    // At once, while it may still believe that it leads.
    let alone = Load::start("alone", &[cluster.url(old)], 4, 10);
    let urls: Vec<String> = majority.iter().map(|member| cluster.url(*member)).collect();
    let others = Load::start("others", &urls, 4, 10);
    others.progress(100).await;
    let newest = register.grown().await;
    let reads_before = register.reads(old);

    let client = cluster.client(old);
    let local = client.read_local(REGISTER).await.unwrap().unwrap();
    assert!(local.parse::<u64>().unwrap() < newest, "it cannot know what the majority wrote");
    let read = client.read(REGISTER);
    let write = client.write("never", "acknowledged");
    let health = raft_tests::http(cluster.ports().client(old), "GET", "/readyz");
    let (_, _, health) = tokio::join!(refused(read), refused(write), health);
    assert_eq!(health.unwrap().status, 503);
    assert_eq!(register.reads(old), reads_before, "linearizable reads of the minority");
    assert_eq!(alone.acknowledged(), 0, "writes of the minority");
    let alone = alone.stop().await;
    let there = client.read_all("alone", true).await.unwrap();
    assert_eq!(there.count, 0, "it executed what it could not commit");
    others.progress(100).await;

    cluster.network().heal();
    let goal = register.grown().await;
    eventually("the old leader follows", || async {
        let found = client.read(REGISTER).await.map_err(|status| status.to_string())?;
        let found: u64 = found.unwrap().parse().unwrap();
        if found >= goal { Ok(()) } else { Err(found.to_string()) }
    })
    .await;
    let others = others.stop().await;
    register.stop().await;
    for member in 0..3 {
        alone.check(&cluster.client(member)).await;
        others.check(&cluster.client(member)).await;
    }
}

/// A leader that is heard by all and hears nobody would stop everything for ever: it steps down,
/// and the others go on without it. Its clients are told that they cannot know what became of
/// their writes, and that is the truth: the others have and execute some of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_hears_nobody_gives_way() {
    let cluster = proxied().await;
    let deaf = cluster.leader().await;
    let others: Vec<usize> = (0..3).filter(|member| *member != deaf).collect();
    let urls: Vec<String> = others.iter().map(|member| cluster.url(*member)).collect();
    let unheard = Load::start("unheard", &[cluster.url(deaf)], 8, 10);
    unheard.progress(50).await;
    for other in &others {
        cluster.network().cut(*other, deaf);
    }
    let heard = Load::start("heard", &urls, 4, 10);
    heard.progress(100).await;
    // Until every client of the deaf leader was told something, if only that time is up.
    let unheard = unheard.stop().await;
    cluster.network().heal();
    cluster.leader().await;
    let heard = heard.stop().await;
    heard.check(&cluster.client(deaf)).await;
    let verdict = unheard.check(&cluster.client(deaf)).await;
    assert!(verdict.executed > 0, "no write of unknown outcome was executed: {verdict:?}");
}

/// A follower that hears its leader and is heard by nobody changes nothing for the others: the
/// leader stays, and nothing is interrupted. Healed, it has what it missed.
#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_nobody_hears_disturbs_nobody() {
    let cluster = proxied().await;
    let leader = cluster.leader().await;
    let (mute, other) = ((leader + 1) % 3, (leader + 2) % 3);
    let term = |status: StatusResponse| status.raft_term;
    let client = cluster.client(leader);
    let before = term(client.status(StatusRequest {}).await.unwrap());
    for to in [leader, other] {
        cluster.network().cut(mute, to);
    }
    let load = Load::start("w", &[cluster.url(leader), cluster.url(other)], 4, 10);
    load.progress(300).await;
    let during = term(client.status(StatusRequest {}).await.unwrap());
    assert_eq!(during, before, "an election took place");
    cluster.network().heal();
    let history = load.stop().await;
    history.check(&cluster.client(mute)).await;
}
