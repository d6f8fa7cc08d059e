//! Who is let in, who is not and in which words, and what nonsense does: nothing, but be counted.

use std::time::Duration;

use raft_core::{ClusterId, Incarnation};
use raft_net::{
    Class, Fault, InboxLimits, RefusalCode, Strangers, TcpConfig, TcpTransport, Transport,
};

use crate::common::{Random, control, identity, inbox, node, number, roster};
use crate::raw::{ENVELOPE, HELLO, Hello, PING, PREFACE, REFUSAL, Raw, WELCOME, frame, read_index};
use crate::tcp::{address, start};

/// Lets `asker` dial node 1, set up as told; gives the refusal as each side knows it.
async fn refusal_of(
    asker: raft_core::Identity,
    dials: u64,
    config: TcpConfig,
    known: raft_net::Roster,
) -> (RefusalCode, String) {
    let (one, _at_one) = start(1, config, InboxLimits::default());
    one.set_roster(known);
    let transport = TcpTransport::new(TcpConfig::default());
    let (inbox, mut arrivals) = inbox(InboxLimits::default());
    transport.start(asker, inbox).expect("a free port");
    transport.set_roster(roster(&[(dials, &address(&one).to_string())]));
    let (by, refusal) = arrivals.refusal().await;
    assert_eq!(by, node(dials));
    let refused = one.stats().refused[&asker.peer.node].clone();
    assert_eq!(refused.last, refusal, "both sides know the same");
    let told = transport.stats().peers[&node(dials)].refused_by.clone();
    assert_eq!(told.map(|told| told.last), Some(refusal.clone()));
    (refusal.code, refusal.sentence)
}

/// Each refusal reaches the node that dials with its code and its sentence, is counted on both
/// sides and lets no message through.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_refusal_is_told_to_both_sides() {
    let open = TcpConfig::default;
    let none = raft_net::Roster::new;
    let mut foreign = identity(2);
    foreign.cluster = ClusterId::new(0xc2);
    let (code, sentence) = refusal_of(foreign, 1, open(), none()).await;
    assert_eq!(code, RefusalCode::Cluster);
    assert!(sentence.contains("n2 belongs to cluster c2, n1 belongs to cluster c1"), "{sentence}");

    let (code, sentence) = refusal_of(identity(2), 3, open(), none()).await;
    assert_eq!(code, RefusalCode::WrongNode);
    assert_eq!(sentence, "n2 asked for n3, but this is n1: correct the address of n3");

    let (code, sentence) = refusal_of(identity(1), 2, open(), none()).await;
    assert_eq!(code, RefusalCode::OwnId);
    assert!(sentence.starts_with("both ends say they are n1"), "{sentence}");

    let mut known = roster(&[(2, "")]);
    known.get_mut(&node(2)).unwrap().incarnation = Some(Incarnation::new(0x02d));
    let (code, sentence) = refusal_of(identity(2), 1, open(), known).await;
    assert_eq!(code, RefusalCode::Incarnation);
    assert!(sentence.contains("shows incarnation 2, the membership has recorded 2d"), "{sentence}");

    let closed = TcpConfig { strangers: Strangers::Refuse, ..open() };
    let (code, sentence) = refusal_of(identity(2), 1, closed, roster(&[(3, "")])).await;
    assert_eq!(code, RefusalCode::UnknownNode);
    assert_eq!(sentence, "n1 does not know n2: add n2 to the membership");
}

/// A node of a later version hears which versions there are.
#[tokio::test]
async fn another_version_is_refused_in_words() {
    let (one, _at_one) = start(1, TcpConfig::default(), InboxLimits::default());
    let mut raw = Raw::connect(address(&one)).await;
    raw.write(&Hello { versions: [2, 3], ..HELLO }.bytes()).await;
    let (kind, body) = raw.frame().await;
    assert_eq!((kind, body[0]), (REFUSAL, 1), "a refusal, of the version");
    let end = 2 + usize::from(body[1]);
    let sentence = String::from_utf8(body[2..end].to_vec()).unwrap();
    let mut identity = 0xc1u128.to_le_bytes().to_vec();
    identity.push(1);
    identity.extend(1u128.to_le_bytes());
    assert_eq!(body[end..], identity, "who refuses says who it is");
    assert_eq!(
        sentence,
        "n9 speaks versions 2 to 3 of the protocol, n1 speaks version 1: upgrade the older of the \
         two"
    );
    raw.closed().await;
}

/// The bytes of the document, written by hand, are understood: hello, message, ping and pong.
#[tokio::test]
async fn the_written_format_is_the_spoken_one() {
    let (one, mut at_one) = start(1, TcpConfig::default(), InboxLimits::default());
    let mut raw = Raw::connect(address(&one)).await;
    raw.write(&HELLO.bytes()).await;
    let (kind, body) = raw.frame().await;
    let mut expected = vec![1];
    expected.extend(0xc1u128.to_le_bytes());
    expected.push(1);
    expected.extend(1u128.to_le_bytes());
    assert_eq!((kind, body), (WELCOME, expected));
    raw.write(&frame(ENVELOPE, 1, &read_index(9, 1, 42))).await;
    let message = at_one.message().await;
    assert_eq!(number(&message), 42);
    assert_eq!(message.from.incarnation, Incarnation::new(9), "stamped from the handshake");
    raw.write(&frame(PING, 1, b"12345678")).await;
    assert_eq!(raw.frame().await, (6, b"12345678".to_vec()));
}

/// After a good handshake each kind of nonsense closes the connection and is counted as what it is;
/// the message before it still arrives.
#[tokio::test]
async fn nonsense_closes_the_connection_and_is_counted() {
    let config = TcpConfig { frame_bytes_max: 1000, ..TcpConfig::default() };
    let (one, mut at_one) = start(1, config, InboxLimits::default());
    let mut corrupt = frame(ENVELOPE, 1, &read_index(9, 1, 1));
    *corrupt.last_mut().unwrap() ^= 1;
    let cases = [
        (corrupt, Fault::Checksum),
        (frame(99, 1, b""), Fault::Kind),
        (frame(WELCOME, 1, b""), Fault::Kind),
        (frame(ENVELOPE, 7, &read_index(9, 1, 1)), Fault::Version),
        (frame(ENVELOPE, 1, &[0; 1001]), Fault::Oversize),
        (frame(ENVELOPE, 1, b"\0nonsense"), Fault::Malformed),
        // In another's name; for another; a bulk message (Propose) on a control connection.
        (frame(ENVELOPE, 1, &read_index(8, 1, 1)), Fault::Misplaced),
        (frame(ENVELOPE, 1, &read_index(9, 2, 1)), Fault::Misplaced),
        (
            frame(ENVELOPE, 1, &[&[0, 1, 11, 9, 1, 7, 3][..], &[0; 8], &[1, 0]].concat()),
            Fault::Misplaced,
        ),
    ];
    for (i, (nonsense, fault)) in (0..).zip(cases) {
        let faults = || one.stats().peers.get(&node(9)).map_or(0, |p| p.faults.count(fault));
        let before = faults();
        let mut raw = Raw::connect(address(&one)).await;
        let good = frame(ENVELOPE, 1, &read_index(9, 1, i));
        raw.write(&[HELLO.bytes(), good, nonsense].concat()).await;
        assert_eq!(number(&at_one.message().await), u64::from(i));
        raw.closed().await;
        assert_eq!(faults(), before + 1, "{fault:?}");
    }
    assert_eq!(one.stats().peers[&node(9)].faults.total(), 9);
}

/// Random bytes, bare, behind the preface or behind a handshake, are survived and counted one by
/// one; afterwards a good node is let in.
#[tokio::test]
async fn random_bytes_are_survived_and_counted() {
    let (one, mut at_one) = start(1, TcpConfig::default(), InboxLimits::default());
    let mut random = Random(0x5eed);
    let (mut strangers, mut known) = (0, 0);
    for round in 0..300 {
        let len = 1 + random.below(200);
        let noise = random.bytes(len);
        let begin = match round % 3 {
            0 => Vec::new(),
            1 => PREFACE.to_vec(),
            _ => HELLO.bytes(),
        };
        let mut raw = Raw::connect(address(&one)).await;
        raw.write(&[begin, noise].concat()).await;
        raw.finish().await;
        if round % 3 == 2 {
            known += 1;
        } else {
            strangers += 1;
        }
        raw.closed().await;
    }
    let stats = one.stats();
    assert_eq!((stats.accepted, stats.strangers.total()), (300, strangers));
    let faults = stats.peers[&node(9)].faults;
    // Noise shorter than a header, or that looks like a frame's begin, just ends.
    assert!(faults.total() > known * 3 / 4 && faults.total() <= known, "{faults:?}");

    let (two, _at_two) = start(2, TcpConfig::default(), InboxLimits::default());
    two.set_roster(roster(&[(1, &address(&one).to_string())]));
    two.send(control(2, 1, 4)).unwrap();
    assert_eq!(number(&at_one.message().await), 4);
}

/// Who connects and says nothing is hung up on; so is who introduces itself and then falls silent.
#[tokio::test]
async fn silence_is_not_waited_for() {
    let limit = Duration::from_millis(50);
    let config = TcpConfig { handshake_time_max: limit, ..TcpConfig::default() };
    let (one, _at_one) = start(1, config, InboxLimits::default());
    let mut mute = Raw::connect(address(&one)).await;
    mute.closed().await;
    assert_eq!(one.stats().strangers.count(Fault::Silent), 1);

    let config = TcpConfig { silence_max: limit, ..TcpConfig::default() };
    let (one, _at_one) = start(1, config, InboxLimits::default());
    let mut sleepy = Raw::connect(address(&one)).await;
    sleepy.write(&HELLO.bytes()).await;
    sleepy.closed().await;
    assert_eq!(one.stats().peers[&node(9)].faults.count(Fault::Silent), 1);
}

/// A node's newer connection of a class replaces the older one, and leaves the other class alone.
#[tokio::test]
async fn a_newer_connection_replaces_the_older() {
    let (one, mut at_one) = start(1, TcpConfig::default(), InboxLimits::default());
    let mut open = Vec::new();
    for class in [Class::Bulk, Class::Control, Class::Control] {
        let mut raw = Raw::connect(address(&one)).await;
        raw.write(&Hello { class: u8::from(class == Class::Bulk), ..HELLO }.bytes()).await;
        assert_eq!(raw.frame().await.0, WELCOME);
        raw.write(&frame(PING, 1, b"")).await;
        raw.frame().await;
        open.push(raw);
    }
    open[1].closed().await;
    open[2].write(&frame(ENVELOPE, 1, &read_index(9, 1, 6))).await;
    assert_eq!(number(&at_one.message().await), 6);
    open[0].write(&frame(PING, 1, b"still")).await;
    assert_eq!(open[0].frame().await.1, b"still");
    assert_eq!(one.stats().peers[&node(9)].faults.total(), 0);
}

/// Once the membership records another incarnation, a node that was let in before is hung up on.
#[tokio::test]
async fn a_recorded_incarnation_ends_older_connections() {
    let (one, _at_one) = start(1, TcpConfig::default(), InboxLimits::default());
    let mut raw = Raw::connect(address(&one)).await;
    raw.write(&HELLO.bytes()).await;
    raw.frame().await;
    raw.write(&frame(PING, 1, b"here")).await;
    raw.frame().await;
    let mut known = roster(&[(9, "")]);
    known.get_mut(&node(9)).unwrap().incarnation = Some(Incarnation::new(0x99));
    one.set_roster(known);
    raw.closed().await;
    let mut again = Raw::connect(address(&one)).await;
    again.write(&HELLO.bytes()).await;
    assert_eq!(again.frame().await.0, REFUSAL);
}

/// A crowd of strangers finds an end, with a sentence that names the remedy.
#[tokio::test]
async fn only_so_many_strangers_come_in() {
    let (one, _at_one) = start(1, TcpConfig::default(), InboxLimits::default());
    for stranger in 2..68 {
        let mut raw = Raw::connect(address(&one)).await;
        raw.write(&Hello { node: stranger, ..HELLO }.bytes()).await;
        let (kind, body) = raw.frame().await;
        assert_eq!(kind, if stranger < 66 { WELCOME } else { REFUSAL }, "n{stranger}");
        if kind == REFUSAL {
            assert!(String::from_utf8_lossy(&body).contains("let in 64 such nodes already"));
        }
    }
    assert_eq!(one.stats().refused.len(), 2);
}
