//! Bounds: what is refused for its size or for want of room, and what is not held up by that.
//!
//! Read next: `meet.rs`.

use super::sample::{content_bytes, heartbeat, node, number, numbered, vote};
use super::stage::{Stage, finish};
use super::{Queueing, Verdict, ensure};
use crate::{Class, InboxLimits, SendError};

/// A message that no frame holds.
pub(super) async fn too_large_messages_are_refused_with_their_size(stage: &mut Stage) -> Verdict {
    let declared = stage.nature.message_bytes_max.needed()?;
    let [mut one, mut two] = stage.hosts().await?;
    let content = usize::try_from(declared).expect("a message fits into memory");
    let sent = one.send(two.node(), numbered(Class::Bulk, 1, content)).await?;
    let Err(SendError::TooLarge { to, bytes, bytes_max }) = sent else {
        return ensure(false, || format!("expected TooLarge, found {sent:?}"));
    };
    ensure(to == two.node(), || format!("a message to n2 is too large, {to} is named"))?;
    ensure(bytes_max == declared, || format!("the limit is {declared}, said is {bytes_max}"))?;
    ensure(bytes > declared, || format!("it has more than {declared} bytes, said is {bytes}"))?;
    one.must_send(two.node(), numbered(Class::Bulk, 2, 10)).await?;
    two.must_get(Class::Bulk, 2).await?;
    let counted = one.transport().stats().peers[&two.node()].dropped.too_large;
    ensure(counted == 1, || format!("1 message was too large, {counted} are counted"))?;
    ensure(one.losses(two.node()) == 0, || "a connection was lost with it".to_owned())?;
    finish([one, two]).await
}

/// Whatever the reason why a message cannot go, the caller hears it at once.
pub(super) async fn sending_never_blocks(stage: &mut Stage) -> Verdict {
    let [mut one, mut two, mut three] = stage.hosts_with([ROOMY, SMALL, ROOMY]).await?;
    let (slow, gone) = (two.node(), three.node());
    three.end().await?;
    one.down(gone).await?;
    one.fill(slow, MESSAGE_BYTES).await?;
    for to in [slow, gone, node(99)] {
        for class in Class::ALL {
            // Taken or not, it returns.
            let _: Result<(), SendError> = one.send(to, numbered(class, 0, MESSAGE_BYTES)).await?;
        }
    }
    one.transport().stop();
    one.must_refuse(slow, vote(), SendError::Stopped).await?;
    one.end().await?;
    two.end().await?;
    Ok(())
}

/// A node takes no entries in; votes and heartbeats reach it all the same.
pub(super) async fn control_overtakes_bulk_that_waits(stage: &mut Stage) -> Verdict {
    let [one, mut two] = stage.hosts_with([ROOMY, SMALL]).await?;
    let (taken, _) = one.fill(two.node(), MESSAGE_BYTES).await?;
    for body in [vote(), heartbeat(3), numbered(Class::Control, 4, 0)] {
        one.must_send(two.node(), body.clone()).await?;
        let found = two.of_class(Class::Control).await?.envelope.message.body;
        ensure(found == body, || format!("{} is sent, {} comes", body.name(), found.name()))?;
    }
    two.must_get_all(Class::Bulk, &taken).await?;
    finish([one, two]).await
}

/// A queue that is full says so in bytes, keeps what it took, slows no other node, and takes more
/// as soon as there is room.
pub(super) async fn a_full_queue_says_so_and_forgets_nothing(stage: &mut Stage) -> Verdict {
    let queueing = stage.nature.queueing;
    let [one, mut two, mut three] = stage.hosts_with([ROOMY, SMALL, ROOMY]).await?;
    let slow = two.node();
    let (mut taken, error) = one.fill(slow, MESSAGE_BYTES).await?;
    let SendError::Full { to, queued_bytes, bytes_max } = error else {
        return ensure(false, || format!("expected Full, found {error:?}"));
    };
    ensure(to == slow, || format!("the queue to {slow} is full, {to} is named"))?;
    let declared = match queueing {
        Queueing::Own { bulk_bytes_max } => bulk_bytes_max,
        Queueing::Inbox => SMALL.bulk_bytes_max,
    };
    ensure(bytes_max == declared, || format!("the bound is {declared}, said is {bytes_max}"))?;
    let least = declared.saturating_sub(2 * MESSAGE_BYTES as u64);
    ensure(queued_bytes > least && queued_bytes < declared + OVERSHOOT_BYTES, || {
        format!("of {declared} bytes {queued_bytes} are said to wait, with no room for one more")
    })?;

    let mut full = 1;
    for number in 100_000..100_010 {
        match one.send(slow, numbered(Class::Bulk, number, MESSAGE_BYTES)).await? {
            Ok(()) => taken.push(number),
            Err(SendError::Full { .. }) => full += 1,
            Err(error) => return ensure(false, || format!("expected Full, found {error:?}")),
        }
        one.must_send(three.node(), numbered(Class::Bulk, number, 10)).await?;
        three.must_get(Class::Bulk, number).await?;
    }
    let counted = one.transport().stats().peers[&slow].dropped.full;
    ensure(counted == full, || format!("{full} times it was full, {counted} are counted"))?;

    two.must_get_all(Class::Bulk, &taken).await?;
    for number in 200_000..200_010 {
        one.send_when_room(slow, numbered(Class::Bulk, number, MESSAGE_BYTES)).await?;
        two.must_get(Class::Bulk, number).await?;
    }
    finish([one, two, three]).await
}

/// A node that takes nothing in gets no more than its inbox has room for and one read beyond, and
/// every message takes as much room as it has bytes.
pub(super) async fn a_slow_host_is_not_flooded(stage: &mut Stage) -> Verdict {
    let [one, mut two] = stage.hosts_with([ROOMY, SMALL]).await?;
    let (taken, _) = one.fill(two.node(), MESSAGE_BYTES).await?;
    // A message that overtakes the others shows that what could arrive has begun to.
    one.must_send(two.node(), vote()).await?;
    drop(two.of_class(Class::Control).await?);
    let waiting = two.waiting(Class::Bulk);
    for arrived in waiting {
        let content = content_bytes(&arrived.envelope.message.body);
        let (bytes, number) = (arrived.room.bytes(), number(&arrived.envelope.message));
        ensure(bytes >= content, || {
            format!("message {number:?} has {content} bytes and takes {bytes} bytes of room")
        })?;
    }
    let (bytes, bytes_max) = (
        waiting.iter().map(|arrived| arrived.room.bytes()).sum::<u64>(),
        SMALL.bulk_bytes_max + OVERSHOOT_BYTES,
    );
    ensure(bytes <= bytes_max, || {
        format!("{bytes} bytes arrive where {} bytes have room", SMALL.bulk_bytes_max)
    })?;
    two.must_get_all(Class::Bulk, &taken).await?;
    finish([one, two]).await
}

/// What queues are filled with: large enough to fill them soon, small beside their bounds.
const MESSAGE_BYTES: usize = 64 << 10;

/// One message and one read buffer, generously.
const OVERSHOOT_BYTES: u64 = 1 << 20;

/// An inbox that is never full here.
const ROOMY: InboxLimits = InboxLimits { bulk_bytes_max: 64 << 20, control_bytes_max: 16 << 20 };

/// An inbox that a few messages fill.
const SMALL: InboxLimits = InboxLimits { bulk_bytes_max: 256 << 10, control_bytes_max: 16 << 20 };
