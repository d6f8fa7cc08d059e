//! What is carried: unchanged, once, in order, to the right node, in the right name.
//!
//! Read next: `bound.rs`.

use std::collections::BTreeMap;

use raft_core::{Incarnation, Peer};

use super::sample::{CLAIMED, content_bytes, envelope, number, numbered, of_every_kind};
use super::stage::{Host, Stage, finish, identity};
use super::{Finding, Property, Verdict, ensure};
use crate::{Class, InboxLimits, Transport};

/// Every kind of message, with contents of many sizes, in both directions.
pub(super) async fn what_is_sent_arrives_unchanged_and_once(stage: &mut Stage) -> Verdict {
    let [mut one, mut two] = stage.hosts().await?;
    compare_all(&one, &mut two).await?;
    compare_all(&two, &mut one).await?;
    finish([one, two]).await
}

/// Sends a message of every kind, and finds each among those that arrive.
async fn compare_all(from: &Host, to: &mut Host) -> Verdict {
    let mut expected = Vec::new();
    for body in of_every_kind() {
        expected.push(envelope(from.node(), to.node(), body.clone()));
        from.send_when_room(to.node(), body).await?;
    }
    while !expected.is_empty() {
        let mut found = to.message().await?.envelope;
        let body = &found.message.body;
        let (name, bytes) = (body.name(), content_bytes(body));
        // Whose it is, another law asks.
        found.message.from.incarnation = CLAIMED;
        let Some(place) = expected.iter().position(|sent| *sent == found) else {
            let how = format!("a {name} of {bytes} bytes arrives that was not sent, or again");
            return Err(Finding::Broken(how));
        };
        expected.swap_remove(place);
    }
    Ok(())
}

/// Two nodes send to a third, both classes mixed and in many sizes.
pub(super) async fn messages_of_a_class_arrive_in_order_without_a_gap(
    stage: &mut Stage,
) -> Verdict {
    const COUNT: u64 = 300;
    let [one, two, mut three] = stage.hosts().await?;
    let mut senders = BTreeMap::from([(one.node(), one), (two.node(), two)]);
    let to = three.node();
    let sizes = (0..3_000).step_by(37).chain([100_000]).cycle();
    for (i, bytes) in (0..COUNT).zip(sizes) {
        for sender in senders.values() {
            for class in Class::ALL {
                sender.send_when_room(to, numbered(class, i, bytes)).await?;
            }
        }
    }
    let mut next = BTreeMap::new();
    for _ in 0..COUNT * 4 {
        let message = three.message().await?.envelope.message;
        let (from, class) = (message.from.node, Class::of(&message.body));
        let next = next.entry((from, class)).or_insert(0);
        let found = number(&message);
        ensure(found == Some(*next), || {
            let losses = senders.get_mut(&from).map_or(0, |sender| sender.losses(to));
            let name = class.name();
            format!(
                "{name} message {next} of {from} should come, {found:?} does, and {from} was told \
                 of {losses} losses"
            )
        })?;
        *next += 1;
    }
    finish(senders.into_values().chain([three])).await
}

/// One node sends to two others in turn.
pub(super) async fn a_message_reaches_its_addressee_alone(stage: &mut Stage) -> Verdict {
    let [one, two, three] = stage.hosts().await?;
    let mut receivers = [two, three];
    for i in 0..100 {
        for receiver in &receivers {
            for class in Class::ALL {
                one.send_when_room(receiver.node(), numbered(class, i, 10)).await?;
            }
        }
    }
    for receiver in &mut receivers {
        for _ in 0..200 {
            let message = receiver.message().await?.envelope.message;
            let (own, to) = (receiver.node(), message.to);
            ensure(to == own, || format!("{own} gets a message to {to}"))?;
        }
    }
    let [two, three] = receivers;
    finish([one, two, three]).await
}

/// Nobody waits until a node is reached: what is sent before waits for it.
pub(super) async fn messages_wait_while_a_node_is_first_dialled(stage: &mut Stage) -> Verdict {
    let one = stage.start(identity(1), InboxLimits::default())?;
    let mut two = stage.start(identity(2), InboxLimits::default())?;
    stage.introduce(&[&one, &two]);
    for number in 0..10 {
        for class in Class::ALL {
            one.must_send(two.node(), numbered(class, number, 100)).await?;
        }
    }
    for class in Class::ALL {
        two.must_get_all(class, &(0..10).collect::<Vec<_>>()).await?;
    }
    finish([one, two]).await
}

/// Whatever incarnation a message claims to be sent by, it arrives with the one its sender showed
/// when the two met.
pub(super) async fn arrivals_carry_the_incarnation_of_the_handshake(stage: &mut Stage) -> Verdict {
    let mut one = stage.start(identity(1), InboxLimits::default())?;
    let mut two = stage.start(identity(2), InboxLimits::default())?;
    stage.introduce(&[&one, &two]);
    for (host, other) in [(&mut one, identity(2).peer), (&mut two, identity(1).peer)] {
        let shown = host.up(other.node).await?;
        ensure(shown == other, || format!("{shown} is reached where {other} should be"))?;
    }
    let shown = one.identity.peer;
    for claimed in [0xbad, 0, 2, u128::MAX] {
        for class in Class::ALL {
            let mut envelope = envelope(one.node(), two.node(), numbered(class, 1, 10));
            envelope.message.from.incarnation = Incarnation::new(claimed);
            let sent = one.try_send(envelope).await?;
            ensure(matches!(sent, Ok(Ok(()))), || format!("cannot send: {sent:?}"))?;
            let found = two.message().await?.envelope.message.from;
            ensure(found == shown, || format!("{shown} sends and {found} is heard"))?;
        }
    }
    finish([one, two]).await
}

/// A message in another node's name is a mistake of the host: a panic, after which all goes on.
pub(super) async fn nobody_speaks_for_another(stage: &mut Stage) -> Verdict {
    let [one, mut two, three] = stage.hosts().await?;
    for class in Class::ALL {
        let forged = envelope(three.node(), two.node(), numbered(class, 1, 10));
        let sent = one.try_send(forged).await?;
        ensure(sent.as_ref().is_err_and(tokio::task::JoinError::is_panic), || {
            format!("n1 sends in the name of n3: expected a panic, found {sent:?}")
        })?;
        one.must_send(two.node(), numbered(class, 2, 10)).await?;
        let from = two.of_class(class).await?.envelope.message.from;
        let shown = Peer { incarnation: from.incarnation, ..one.identity.peer };
        ensure(from == shown, || format!("n1 sends in its own name and {from} is heard"))?;
    }
    finish([one, two, three]).await
}

/// Both ends count what passed between them, and nothing is queued in the end.
pub(super) async fn what_is_carried_is_counted(stage: &mut Stage) -> Verdict {
    let [one, mut two] = stage.hosts().await?;
    for number in 0..20 {
        for class in Class::ALL {
            one.must_send(two.node(), numbered(class, number, 1_000)).await?;
        }
    }
    for _ in 0..40 {
        drop(two.message().await?);
    }
    let queues_are_empty = |transport: &dyn Transport| {
        let peer = transport.stats().peers.get(&two.node()).cloned().unwrap_or_default();
        (peer.queued_control_bytes, peer.queued_bulk_bytes) == (0, 0)
    };
    one.eventually("nothing is queued", queues_are_empty).await?;
    let seen_by = |host: &Host, other: &Host| {
        host.transport().stats().peers.get(&other.node()).cloned().unwrap_or_default()
    };
    let (sender, receiver) = (seen_by(&one, &two), seen_by(&two, &one));
    for (counted, what) in [(sender.sent, "sent"), (receiver.received, "received")] {
        ensure(counted.messages == 40 && counted.bytes >= 20_000, || {
            format!("40 messages with 20000 bytes are carried, {counted:?} are counted as {what}")
        })?;
    }
    ensure(sender.is_connected && sender.connects == 1 && sender.breaks == 0, || {
        format!("n2 was reached once and stays, counted is {sender:?}")
    })?;
    let shown = two.identity.peer.incarnation;
    ensure(sender.incarnation == Some(shown), || {
        format!("n2 shows incarnation {shown}, noted is {:?}", sender.incarnation)
    })?;
    let inbox = two.transport().stats();
    ensure((inbox.inbox_control_bytes, inbox.inbox_bulk_bytes) == (0, 0), || {
        format!("all was taken in, counted as waiting is {inbox:?}")
    })?;
    finish([one, two]).await
}

/// The largest messages there are, each followed by small ones.
pub(super) async fn large_messages_pass_unchanged(stage: &mut Stage) -> Verdict {
    let [one, mut two] = stage.hosts().await?;
    let bytes_max = match stage.nature.message_bytes_max {
        Property::Has(bytes_max) => bytes_max,
        Property::Lacks(_) => UNBOUNDED_BYTES,
    };
    let bytes = usize::try_from(bytes_max - FRAMING_BYTES).expect("a message fits into memory");
    for number in 0..3 {
        let large = numbered(Class::Bulk, 2 * number, bytes);
        one.send_when_room(two.node(), large.clone()).await?;
        one.send_when_room(two.node(), numbered(Class::Bulk, 2 * number + 1, 10)).await?;
        one.must_send(two.node(), numbered(Class::Control, number, 0)).await?;
        let found = two.of_class(Class::Bulk).await?.envelope.message.body;
        ensure(found == large, || format!("a message of {bytes} bytes arrives changed"))?;
        two.must_get(Class::Bulk, 2 * number + 1).await?;
        two.must_get(Class::Control, number).await?;
    }
    finish([one, two]).await
}

/// A message of so many bytes less than a frame has fits into it.
const FRAMING_BYTES: u64 = 1 << 10;

/// What a transport without a limit is asked to carry.
const UNBOUNDED_BYTES: u64 = 8 << 20;
