//! A new member is made from a snapshot over a link that breaks again and again: real sockets, real
//! files, and a proxy that counts.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use raft_runtime::{
    Change, ChangeRequest, Consistency, FileStorage, InMemoryStateMachine, Member, NodeId,
    Promotion, Raft, RaftConfig, SnapshotPolicy, Strangers, TcpConfig, TcpTransport,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::{TcpListener, TcpStream};

/// Breaks a connection that has carried so many bytes back to its dialler.
const BREAKS_AFTER: u64 = 2_500_000;

/// What a proxy may still break, and what it has carried back.
#[derive(Default)]
struct Counts {
    breaks: AtomicU64,
    carried: AtomicU64,
}

/// Carries connections to a member, and breaks the first ones that carry much.
async fn proxy(listener: TcpListener, to: SocketAddr, counts: Arc<Counts>) {
    while let Ok((dialer, _)) = listener.accept().await {
        let counts = Arc::clone(&counts);
        tokio::spawn(async move {
            let member = TcpStream::connect(to).await?;
            let (mut from_dialer, mut to_dialer) = dialer.into_split();
            let (mut from_member, mut to_member) = member.into_split();
            let there = tokio::spawn(async move { copy(&mut from_dialer, &mut to_member).await });
            let (mut buffer, mut carried) = (vec![0; 64 << 10], 0);
            loop {
                let count = from_member.read(&mut buffer).await?;
                let breaks = &counts.breaks;
                let may_break = |left: u64| left.checked_sub(1);
                if count == 0
                    || carried > BREAKS_AFTER
                        && breaks
                            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, may_break)
                            .is_ok()
                {
                    break;
                }
                to_dialer.write_all(&buffer[..count]).await?;
                carried += count as u64;
                counts.carried.fetch_add(count as u64, Ordering::Relaxed);
            }
            there.abort();
            std::io::Result::Ok(())
        });
    }
}

fn start(root: &Path, listen: SocketAddr, advertise: SocketAddr, config: RaftConfig) -> Raft {
    let config = config
        .with_heartbeat_interval(Duration::from_millis(50))
        .with_election_timeout(Duration::from_millis(500), Duration::from_secs(1))
        .with_snapshots(SnapshotPolicy { keep_entries: 0, ..SnapshotPolicy::default() });
    let transport = TcpTransport::new(TcpConfig {
        advertise: Some(advertise.to_string()),
        strangers: Strangers::Welcome,
        ..TcpConfig::listening(listen.to_string())
    });
    Raft::builder(config)
        .storage(FileStorage::open(root).expect("a new directory"))
        .state_machine(InMemoryStateMachine::new())
        .transport(transport)
        .start()
        .expect("all parts are given")
}

/// An address that was free a moment ago.
async fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("there are ports");
    listener.local_addr().expect("it listens")
}

/// Twelve chunks over a link that breaks three times: what has arrived is not sent again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transfer_that_breaks_three_times_goes_on_where_it_stopped() {
    let roots: Vec<_> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
    let (one, two) = (free_address().await, free_address().await);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let through = listener.local_addr().unwrap();
    let counts = Arc::new(Counts { breaks: AtomicU64::new(3), ..Counts::default() });
    tokio::spawn(proxy(listener, one, Arc::clone(&counts)));

    let [first_id, second_id] = [1, 2].map(|id| NodeId::new(id).unwrap());
    let member = Member { address: through.to_string().into(), incarnation: None };
    let config = RaftConfig::new(1, vec![]).with_members(BTreeMap::from([(first_id, member)]));
    let first = start(roots[0].path(), one, through, config);
    let large = |i: u8| [format!("key{i}\0").as_bytes(), &vec![i; 1 << 20]].concat();
    for i in 0..12 {
        first.propose(large(i)).await.expect("it serves alone");
    }
    let snapshot = first.snapshot().await.unwrap();
    assert!(snapshot.data_bytes > 12 << 20);

    let second = start(roots[1].path(), two, two, RaftConfig::join(2));
    let address = two.to_string().into();
    let learner = Change::AddLearner { node: second_id, address, promotion: Promotion::Automatic };
    first.change_membership(ChangeRequest::new([learner])).await.unwrap();
    let mut status = second.status();
    let votes = status.wait_for(|status| status.membership.voters().contains(&second_id));
    votes.await.expect("the node runs");

    let (taken, served) = (second.metrics().snapshots(), first.metrics().snapshots());
    let carried = counts.carried.load(Ordering::Relaxed);
    assert_eq!(counts.breaks.load(Ordering::Relaxed), 0, "it broke three times");
    assert_eq!(taken.received, 1);
    let chunks = snapshot.data_bytes.div_ceil(1 << 20) + 1;
    assert_eq!(taken.chunks_received, chunks, "each was taken once");
    assert!(served.chunks_served <= chunks + 3, "one was under way at each break: {served:?}");
    let most = snapshot.data_bytes + 4 * (1 << 20);
    assert!(carried < most, "{carried} bytes for {} of data", snapshot.data_bytes);
    let value = second.read(Consistency::Linearizable, "key7").await.unwrap();
    assert_eq!(value, vec![7; 1 << 20]);
    for node in [second, first] {
        node.shutdown().await;
    }
}
