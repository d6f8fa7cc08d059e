//! Two nodes over real sockets: what arrives, in which order, and what happens when one is gone.

use std::net::SocketAddr;
use std::time::Duration;

use raft_core::Incarnation;
use raft_net::{
    Arrival, Class, InboxLimits, NetError, SendError, TcpConfig, TcpTransport, Transport,
};

use crate::common::{
    Arrivals, PATIENCE, Random, bulk, control, eventually, identity, inbox, node, number, roster,
};

/// A started node that knows nobody.
pub(crate) fn start(id: u64, config: TcpConfig, limits: InboxLimits) -> (TcpTransport, Arrivals) {
    let transport = TcpTransport::new(config);
    let (inbox, arrivals) = inbox(limits);
    transport.start(identity(id), inbox).expect("a free port of this machine");
    (transport, arrivals)
}

pub(crate) fn address(transport: &TcpTransport) -> SocketAddr {
    transport.local_addr().expect("it is started")
}

/// Two started nodes; the first knows the second, which learns of the first by being dialled.
async fn pair(config: TcpConfig, limits: InboxLimits) -> [(TcpTransport, Arrivals); 2] {
    let (one, mut at_one) = start(1, config.clone(), InboxLimits::default());
    let (two, at_two) = start(2, config, limits);
    one.set_roster(roster(&[(2, &address(&two).to_string())]));
    at_one.up(node(2)).await;
    [(one, at_one), (two, at_two)]
}

/// Messages of every size arrive as they were sent, in order within their class, stamped with the
/// sender's incarnation; and a node that was only dialled can answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_arrive_intact_and_in_order() {
    let [(one, mut at_one), (two, mut at_two)] =
        pair(TcpConfig::default(), InboxLimits::default()).await;
    let mut sizes = Random(1);
    let mut sent = [Vec::new(), Vec::new()];
    for i in 0..400 {
        let mut size = sizes.below(3000);
        if i % 100 == 99 {
            size = 1 << 20;
        }
        for envelope in [bulk(1, 2, i, size), control(1, 2, i)] {
            one.send(envelope.clone()).unwrap();
            let mut expected = envelope.message;
            expected.from.incarnation = Incarnation::new(1);
            sent[Class::of(&expected.body) as usize].push(expected);
        }
    }
    let mut received = [Vec::new(), Vec::new()];
    while received[0].len() + received[1].len() < 800 {
        let message = at_two.message().await;
        received[Class::of(&message.body) as usize].push(message);
    }
    assert!(received == sent, "each class as it was sent");
    eventually(|| two.stats().peers[&node(1)].is_connected).await;
    two.send(control(2, 1, 77)).unwrap();
    assert_eq!(number(&at_one.message().await), 77);

    let (at_sender, at_receiver) = (one.stats(), two.stats());
    assert_eq!(at_sender.peers[&node(2)].sent, at_receiver.peers[&node(1)].received);
    assert_eq!(at_sender.peers[&node(2)].sent.messages, 800);
    assert_eq!(at_receiver.inbox_bulk_bytes, 0, "all room came back");
    eventually(|| one.stats().peers[&node(2)].round_trips.count() > 0).await;
    eventually(|| one.stats().peers[&node(2)].queued_bulk_bytes == 0).await;
}

/// With 64 MiB of entries queued to a node that takes none of them in, a vote still gets through at
/// once; when the node goes on, every entry arrives, in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_overtakes_queued_bulk() {
    let limits = InboxLimits { bulk_bytes_max: 1 << 20, ..InboxLimits::default() };
    let config = TcpConfig { bulk_queue_bytes_max: 65 << 20, ..TcpConfig::default() };
    let [(one, _at_one), (_two, mut at_two)] = pair(config, limits).await;
    for i in 0..64 {
        one.send(bulk(1, 2, i, 1 << 20)).unwrap();
    }
    one.send(control(1, 2, 1000)).unwrap();
    let mut held = Vec::new();
    loop {
        let arrival = at_two.next().await;
        if let Arrival::Message { envelope, .. } = &arrival
            && arrival.class() == Class::Control
        {
            assert_eq!(number(&envelope.message), 1000);
            break;
        }
        held.push(arrival);
    }
    let arrived = held.iter().filter(|arrival| arrival.class() == Class::Bulk).count();
    assert!(arrived < 4, "{arrived} MiB came into a full inbox before the vote");
    let mut expected = 0;
    for arrival in held {
        if let Arrival::Message { envelope, .. } = arrival {
            assert_eq!(number(&envelope.message), expected);
            expected += 1;
        }
    }
    while expected < 64 {
        assert_eq!(number(&at_two.message().await), expected);
        expected += 1;
    }
}

/// A queue whose reader stands still says Full, counts it, and takes control all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_says_so() {
    let limits = InboxLimits { bulk_bytes_max: 1, ..InboxLimits::default() };
    let config = TcpConfig { bulk_queue_bytes_max: 1 << 20, ..TcpConfig::default() };
    let [(one, _at_one), (_two, mut at_two)] = pair(config, limits).await;
    // Kernel buffers take some of it; no kernel takes a gigabyte.
    let full = (0..4096).find_map(|i| {
        std::thread::yield_now();
        one.send(bulk(1, 2, i, 256 << 10)).err()
    });
    let Some(SendError::Full { to, queued_bytes, bytes_max }) = full else {
        panic!("expected Full, found {full:?}");
    };
    assert_eq!((to, bytes_max), (node(2), 1 << 20));
    assert!(queued_bytes <= bytes_max);
    assert_eq!(one.stats().peers[&node(2)].dropped.full, 1);
    one.send(control(1, 2, 5)).unwrap();
    let mut held = Vec::new();
    loop {
        let arrival = at_two.next().await;
        if matches!(&arrival, Arrival::Message { room, .. } if room.class() == Class::Control) {
            break;
        }
        held.push(arrival);
    }
}

/// What cannot be sent is refused with the reason: nobody of that name, a message no frame holds, a
/// node that does not answer the phone, a transport that does not run.
#[tokio::test]
async fn what_cannot_be_sent_is_refused() {
    let config = TcpConfig { frame_bytes_max: 10_000, ..TcpConfig::default() };
    let idle = TcpTransport::new(config.clone());
    assert_eq!(idle.send(control(1, 2, 1)), Err(SendError::Stopped));
    let (one, mut at_one) = start(1, config, InboxLimits::default());
    assert_eq!(one.send(control(1, 2, 1)), Err(SendError::Unknown { to: node(2) }));

    let (gone, _at_gone) = start(2, TcpConfig::default(), InboxLimits::default());
    let nobody = address(&gone).to_string();
    gone.stop();
    gone.stopped().await;
    one.set_roster(roster(&[(2, &nobody)]));
    let too_large = one.send(bulk(1, 2, 1, 10_000));
    assert!(matches!(too_large, Err(SendError::TooLarge { bytes_max: 10_000, .. })));
    one.send(control(1, 2, 1)).expect("the first attempt gives hope");
    at_one.down(node(2)).await;
    assert_eq!(one.send(control(1, 2, 1)), Err(SendError::Down { to: node(2) }));
    let stats = &one.stats().peers[&node(2)];
    assert_eq!(stats.dropped.too_large, 1);
    assert_eq!((stats.dropped.down, stats.is_connected), (2, false));
}

/// A node that restarts at its address is lost, reached again, and known by its new incarnation;
/// what is sent afterwards arrives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_node_is_reached_again() {
    let [(one, mut at_one), (two, _at_two)] =
        pair(TcpConfig::default(), InboxLimits::default()).await;
    let place = address(&two).to_string();
    two.stop();
    two.stopped().await;
    drop(two);
    at_one.down(node(2)).await;

    let again = TcpTransport::new(TcpConfig::listening(place));
    let (inbox_again, mut at_again) = inbox(InboxLimits::default());
    let mut reborn = identity(2);
    reborn.peer.incarnation = Incarnation::new(0x22);
    again.start(reborn, inbox_again).unwrap();
    assert_eq!(at_one.up(node(2)).await, reborn.peer);
    one.send(control(1, 2, 3)).unwrap();
    assert_eq!(number(&at_again.message().await), 3);
    let stats = &one.stats().peers[&node(2)];
    assert_eq!((stats.connects, stats.breaks), (2, 1));
    assert_eq!(stats.incarnation, Some(Incarnation::new(0x22)));
}

/// A new address in the roster is dialled at once, and a node that leaves the roster is hung up on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_roster_is_followed() {
    let [(one, mut at_one), (_two, mut at_two)] =
        pair(TcpConfig::default(), InboxLimits::default()).await;
    let elsewhere = TcpTransport::new(TcpConfig::default());
    let (inbox_elsewhere, mut at_elsewhere) = inbox(InboxLimits::default());
    let mut moved = identity(2);
    moved.peer.incarnation = Incarnation::new(0x2e);
    elsewhere.start(moved, inbox_elsewhere).unwrap();

    one.set_roster(roster(&[(2, &address(&elsewhere).to_string())]));
    at_one.down(node(2)).await;
    assert_eq!(at_one.up(node(2)).await, moved.peer);
    one.send(control(1, 2, 8)).unwrap();
    assert_eq!(number(&at_elsewhere.message().await), 8);

    at_elsewhere.up(node(1)).await;
    at_two.up(node(1)).await;
    one.set_roster(roster(&[]));
    at_one.down(node(2)).await;
    // It may have come by itself since, as a stranger of whom nothing is counted yet.
    let counted = one.stats().peers.get(&node(2)).map(|peer| peer.sent).unwrap_or_default();
    assert_eq!(counted.messages, 0);
}

/// Stopping ends every task, closes the port, and is noticed by the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stop_ends_everything() {
    let [(one, mut at_one), (two, mut at_two)] =
        pair(TcpConfig::default(), InboxLimits::default()).await;
    at_two.up(node(1)).await;
    let place = address(&two);
    two.stop();
    tokio::time::timeout(PATIENCE, two.stopped()).await.expect("all tasks end");
    at_one.down(node(2)).await;
    assert_eq!(two.send(control(2, 1, 1)), Err(SendError::Stopped));
    let (inbox_two, _at) = inbox(InboxLimits::default());
    assert!(matches!(two.start(identity(2), inbox_two), Err(NetError::AlreadyStarted)));
    let heir = std::net::TcpListener::bind(place);
    assert!(heir.is_ok(), "the port is free: {heir:?}");
    assert_eq!(one.stats().peers[&node(2)].breaks, 1);
}

/// An address that is taken, and a place without a runtime, are errors that say so.
#[test]
fn a_start_that_fails_says_why() {
    let (inbox_one, _at_one) = inbox(InboxLimits::default());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let place = taken.local_addr().unwrap().to_string();
    let transport = TcpTransport::new(TcpConfig::listening(place.clone()));
    let outside = transport.start(identity(1), inbox_one.clone());
    assert!(matches!(outside, Err(NetError::NoRuntime)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let error = runtime.block_on(async { transport.start(identity(1), inbox_one).unwrap_err() });
    assert_eq!(error.to_string(), format!("cannot listen at {place}"));
    assert!(std::error::Error::source(&error).is_some());
}

/// A network that swallows everything is noticed by its silence, on the side that sends.
#[tokio::test]
async fn a_peer_that_answers_no_ping_is_given_up() {
    let config = TcpConfig {
        silence_max: Duration::from_millis(100),
        ping_interval: Duration::from_millis(20),
        ..TcpConfig::default()
    };
    let (one, mut at_one) = start(1, config, InboxLimits::default());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = listener.local_addr().unwrap().to_string();
    one.set_roster(roster(&[(2, &place)]));
    let mut mute = Vec::new();
    for _ in Class::ALL {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = crate::raw::Raw(stream);
        let mut body = vec![1];
        body.extend(0xc1u128.to_le_bytes());
        body.push(2);
        body.extend(2u128.to_le_bytes());
        stream.write(&crate::raw::frame(crate::raw::WELCOME, 1, &body)).await;
        mute.push(stream);
    }
    assert_eq!(at_one.up(node(2)).await.incarnation, Incarnation::new(2));
    at_one.down(node(2)).await;
    assert_eq!(one.stats().peers[&node(2)].faults.count(raft_net::Fault::Silent), 1);
}
