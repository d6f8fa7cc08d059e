//! The loopback carries like a network: real bytes, real verdicts, cuts that both sides notice.

use std::sync::Arc;

use raft_core::{ClusterId, FetchOutcome, Incarnation};
use raft_net::{
    Arrival, Class, InboxLimits, Loopback, NetError, RefusalCode, SendError, Transport,
};

use crate::common::{bulk, control, identity, inbox, node, number, roster};
use crate::fetch::{Store, end, fetch};

/// A message arrives with its bytes, and with the incarnation its sender joined with, whatever the
/// message itself says.
#[tokio::test]
async fn a_message_arrives_and_is_stamped() {
    let network = Loopback::network();
    let (one, two) = (network.join(), network.join());
    let (inbox_one, mut at_one) = inbox(InboxLimits::default());
    let (inbox_two, mut at_two) = inbox(InboxLimits::default());
    one.start(identity(1), inbox_one).unwrap();
    two.start(identity(2), inbox_two).unwrap();
    assert_eq!(at_one.up(node(2)).await.incarnation, Incarnation::new(2));
    at_two.up(node(1)).await;

    let sent = bulk(1, 2, 5, 300);
    one.send(sent.clone()).unwrap();
    let mut expected = sent.message;
    expected.from.incarnation = Incarnation::new(1);
    assert_eq!(at_two.message().await, expected);
    assert_eq!(one.stats().peers[&node(2)].sent.messages, 1);
    assert_eq!(two.stats().peers[&node(1)].received.messages, 1);
    assert_eq!(two.stats().inbox_bulk_bytes, 0, "the room came back with the arrival");
}

/// A cut is told to both, stops messages in both directions, and ends with `heal`.
#[tokio::test]
async fn a_cut_is_noticed_and_heals() {
    let network = Loopback::network();
    let (one, two) = (network.join(), network.join());
    let (inbox_one, mut at_one) = inbox(InboxLimits::default());
    let (inbox_two, mut at_two) = inbox(InboxLimits::default());
    one.start(identity(1), inbox_one).unwrap();
    two.start(identity(2), inbox_two).unwrap();

    network.cut(node(2), node(1));
    at_one.down(node(2)).await;
    at_two.down(node(1)).await;
    assert_eq!(one.send(control(1, 2, 1)), Err(SendError::Down { to: node(2) }));
    assert_eq!(two.send(control(2, 1, 1)), Err(SendError::Down { to: node(1) }));
    network.heal();
    at_one.up(node(2)).await;
    one.send(control(1, 2, 2)).unwrap();
    assert_eq!(number(&at_two.message().await), 2, "what was sent into the cut stays lost");

    network.isolate(node(1));
    at_two.down(node(1)).await;
    assert_eq!(one.stats().peers[&node(2)].dropped.down, 1);
    assert_eq!(one.stats().peers[&node(2)].breaks, 2);
}

/// A node that nobody named is unknown, and leaves no counters behind; one that the roster names,
/// or that was here before, is down.
#[tokio::test]
async fn nobody_is_told_from_a_node_that_is_away() {
    let network = Loopback::network();
    let (one, two) = (network.join(), network.join());
    let (inbox_one, _at_one) = inbox(InboxLimits::default());
    let (inbox_two, _at_two) = inbox(InboxLimits::default());
    one.set_roster(roster(&[(3, "")]));
    one.start(identity(1), inbox_one).unwrap();
    two.start(identity(2), inbox_two).unwrap();
    two.stop();
    for nobody in [1, 9] {
        let unknown = SendError::Unknown { to: node(nobody) };
        assert_eq!(one.send(control(1, nobody, 1)), Err(unknown));
        assert_eq!(one.stats().peers.get(&node(nobody)), None);
    }
    for away in [2, 3] {
        assert_eq!(one.send(control(1, away, 1)), Err(SendError::Down { to: node(away) }));
    }
}

/// A node that stops is missed; one that comes back is met again; one id is there once.
#[tokio::test]
async fn a_node_leaves_and_comes_back() {
    let network = Loopback::network();
    let (one, two) = (network.join(), network.join());
    let (inbox_one, mut at_one) = inbox(InboxLimits::default());
    let (inbox_two, _at_two) = inbox(InboxLimits::default());
    one.start(identity(1), inbox_one).unwrap();
    two.start(identity(2), inbox_two.clone()).unwrap();
    at_one.up(node(2)).await;
    let twin = network.join();
    assert!(matches!(twin.start(identity(2), inbox_two.clone()), Err(NetError::Taken { .. })));
    drop(two);
    at_one.down(node(2)).await;
    twin.start(identity(2), inbox_two.clone()).unwrap();
    at_one.up(node(2)).await;
    assert!(matches!(twin.start(identity(2), inbox_two), Err(NetError::AlreadyStarted)));
    twin.stop();
    assert_eq!(twin.send(control(2, 1, 1)), Err(SendError::Stopped));
}

/// Nodes of different clusters refuse each other with both ids in the sentence; a wiped disk is
/// refused by those who recorded the old one, and let in once it is readmitted.
#[tokio::test]
async fn foreign_clusters_and_wiped_disks_are_refused() {
    let network = Loopback::network();
    let (one, other, wiped) = (network.join(), network.join(), network.join());
    let (inbox_one, mut at_one) = inbox(InboxLimits::default());
    let (inbox_other, mut at_other) = inbox(InboxLimits::default());
    let (inbox_wiped, mut at_wiped) = inbox(InboxLimits::default());
    let mut known = roster(&[(3, "")]);
    known.get_mut(&node(3)).unwrap().incarnation = Some(Incarnation::new(3));
    one.set_roster(known.clone());
    one.start(identity(1), inbox_one).unwrap();

    let mut foreign = identity(2);
    foreign.cluster = ClusterId::new(0xc2);
    other.start(foreign, inbox_other).unwrap();
    let (by, refusal) = at_other.refusal().await;
    assert_eq!((by, refusal.code), (node(1), RefusalCode::Cluster));
    assert!(refusal.sentence.contains("cluster c2, n1 belongs to cluster c1"), "{refusal}");
    assert_eq!(at_one.refusal().await.0, node(2));
    assert_eq!(one.send(control(1, 2, 1)), Err(SendError::Down { to: node(2) }));
    assert_eq!(one.stats().refused[&node(2)].times, 1);

    let mut blank = identity(3);
    blank.peer.incarnation = Incarnation::new(0x33);
    wiped.start(blank, inbox_wiped).unwrap();
    let (_, refusal) = at_wiped.refusal().await;
    assert_eq!(refusal.code, RefusalCode::Incarnation);
    assert!(refusal.sentence.contains("readmit it"), "{refusal}");
    known.get_mut(&node(3)).unwrap().incarnation = Some(Incarnation::new(0x33));
    one.set_roster(known);
    at_wiped.up(node(1)).await;
}

/// A full inbox refuses bulk and takes control, until the host drops what it took in.
#[tokio::test]
async fn a_full_inbox_says_so() {
    let network = Loopback::network();
    let (one, two) = (network.join(), network.join());
    let (inbox_one, _at_one) = inbox(InboxLimits::default());
    let limits = InboxLimits { bulk_bytes_max: 1000, control_bytes_max: 1000 };
    let (inbox_two, mut at_two) = inbox(limits);
    one.start(identity(1), inbox_one).unwrap();
    two.start(identity(2), inbox_two).unwrap();
    at_two.up(node(1)).await;
    one.send(bulk(1, 2, 1, 2000)).unwrap();
    assert!(matches!(one.send(bulk(1, 2, 2, 10)), Err(SendError::Full { .. })));
    one.send(control(1, 2, 3)).unwrap();
    let held = at_two.next().await;
    assert_eq!(held.class(), Class::Bulk);
    assert_eq!(number(&at_two.message().await), 3);
    assert!(one.send(bulk(1, 2, 4, 10)).is_err(), "the host still holds the first");
    assert!(matches!(held, Arrival::Message { .. }));
    drop(held);
    one.send(bulk(1, 2, 5, 10)).unwrap();
    assert_eq!(number(&at_two.message().await), 5);
}

/// A cut ends the fetch that crosses it, though the store stands still; across a cut none begins;
/// and what is fetched after the cut is mended arrives, and is counted on both sides.
#[tokio::test]
async fn a_cut_ends_a_fetch() {
    let network = Loopback::network();
    let (one, two) = (network.join(), network.join());
    let (inbox_one, _at_one) = inbox(InboxLimits::default());
    let (inbox_two, _at_two) = inbox(InboxLimits::default());
    let store = Store::new(&[b"manifest", b"data"]);
    two.serve(Arc::clone(&store) as _);
    one.start(identity(1), inbox_one).unwrap();
    two.start(identity(2), inbox_two).unwrap();

    store.open(false);
    let under_way = fetch(&one, 2, 2);
    network.cut(node(1), node(2));
    assert_eq!(end(under_way).await, FetchOutcome::Broken);
    store.open(true);
    assert_eq!(end(fetch(&one, 2, 2)).await, FetchOutcome::Broken);
    network.heal();
    assert_eq!(end(fetch(&one, 2, 2)).await, FetchOutcome::Complete);
    network.isolate(node(2));
    assert_eq!(end(fetch(&one, 2, 2)).await, FetchOutcome::Broken);

    let (fetched, served) = (one.stats().snapshots, two.stats().snapshots);
    assert_eq!((fetched.begun, fetched.complete, fetched.broken), (4, 1, 3));
    assert_eq!((fetched.fetched.chunks, fetched.fetched.bytes), (2, 12));
    assert_eq!(served.served, fetched.fetched);
}
