//! Who is met, who is not, and what is said when a node is lost.
//!
//! Read next: `tests/broken.rs`, transports that break these laws.

use raft_core::{ClusterId, Incarnation};

use super::sample::{node, number, numbered};
use super::stage::{Host, Stage, finish, identity};
use super::{Finding, Verdict, ensure};
use crate::{Class, InboxLimits, NetError, RefusalCode, Roster, SendError};

/// Nobody ever named the addressee, and it costs nothing to say so.
pub(super) async fn an_unknown_node_is_refused(stage: &mut Stage) -> Verdict {
    let [one, mut two] = stage.hosts().await?;
    let nobody = node(9);
    for class in Class::ALL {
        let unknown = SendError::Unknown { to: nobody };
        one.must_refuse(nobody, numbered(class, 1, 10), unknown).await?;
        one.must_send(two.node(), numbered(class, 2, 10)).await?;
        two.must_get(class, 2).await?;
    }
    let is_kept = one.transport().stats().peers.contains_key(&nobody);
    ensure(!is_kept, || "counters are kept for a node that nobody named".to_owned())?;
    finish([one, two]).await
}

/// A node goes away: whoever reached it is told, and what is sent to it from then on is refused.
pub(super) async fn a_lost_node_is_reported_and_refused(stage: &mut Stage) -> Verdict {
    let [mut one, mut two, mut three] = stage.hosts().await?;
    let gone = two.node();
    two.end().await?;
    one.down(gone).await?;
    three.down(gone).await?;
    for class in Class::ALL {
        let down = SendError::Down { to: gone };
        one.must_refuse(gone, numbered(class, 1, 10), down).await?;
        one.must_send(three.node(), numbered(class, 2, 10)).await?;
        three.must_get(class, 2).await?;
    }
    let counted = one.transport().stats().peers[&gone].clone();
    ensure(!counted.is_connected && counted.breaks == 1 && counted.dropped.down == 2, || {
        format!("n2 was lost once and 2 messages to it were refused, counted is {counted:?}")
    })?;
    finish([one, three]).await
}

/// A node comes back as another incarnation: it is reached again, under its new name, in both
/// directions.
pub(super) async fn a_restarted_node_is_reached_again(stage: &mut Stage) -> Verdict {
    let [mut one, mut two] = stage.hosts().await?;
    for life in 0..3 {
        one.must_send(two.node(), numbered(Class::Bulk, life, 10)).await?;
        two.must_get(Class::Bulk, life).await?;
        two.end().await?;
        one.down(two.node()).await?;

        let mut reborn = identity(2);
        reborn.peer.incarnation = Incarnation::new(0x200 + u128::from(life));
        two = stage.start(reborn, InboxLimits::default())?;
        stage.introduce(&[&one, &two]);
        let shown = one.up(two.node()).await?;
        ensure(shown == reborn.peer, || format!("{} came back, {shown} is met", reborn.peer))?;
        two.up(one.node()).await?;
        for class in Class::ALL {
            one.must_send(two.node(), numbered(class, 1_000, 10)).await?;
            two.must_get(class, 1_000).await?;
            two.must_send(one.node(), numbered(class, 1_001, 10)).await?;
            let from = one.of_class(class).await?.envelope.message.from;
            ensure(from == reborn.peer, || format!("{} speaks, {from} is heard", reborn.peer))?;
        }
    }
    finish([one, two]).await
}

/// Connections break while both classes are busy, again and again: every gap was announced, the
/// order holds, nothing comes twice, and messages flow again without anybody's doing.
pub(super) async fn a_broken_connection_is_told_and_mended(stage: &mut Stage) -> Verdict {
    const ROUNDS: u64 = 8;
    const PER_ROUND: u64 = 40;
    let [mut one, mut two] = stage.hosts().await?;
    let to = two.node();
    let mut taken = [Vec::new(), Vec::new()];
    let sizes = (0..35_000).step_by(5_000).cycle();
    for (i, bytes) in (0..ROUNDS * PER_ROUND).zip(sizes) {
        for (class, taken) in Class::ALL.into_iter().zip(&mut taken) {
            match one.send(to, numbered(class, i, bytes)).await? {
                Ok(()) => taken.push(i),
                Err(SendError::Down { .. } | SendError::Full { .. }) => {}
                Err(error) => return ensure(false, || format!("cannot send: {error}")),
            }
        }
        if i % PER_ROUND == PER_ROUND / 2 {
            stage.sever(&one, &two);
        }
        if i % PER_ROUND == PER_ROUND - 1 {
            one.down(to).await?;
            one.up(to).await?;
        }
    }
    let losses = one.losses(to);
    for (class, mut taken) in Class::ALL.into_iter().zip(taken) {
        let marker = ROUNDS * PER_ROUND;
        one.send_when_room(to, numbered(class, marker, 10)).await?;
        taken.push(marker);
        let gaps = gaps_until(&mut two, class, &taken).await?;
        ensure(gaps <= losses, || {
            let name = class.name();
            format!("{gaps} gaps in {name} messages, and {losses} times n1 was told of a loss")
        })?;
    }
    finish([one, two]).await
}

/// Takes messages of a class until the last of those that were sent; counts the gaps between them.
async fn gaps_until(host: &mut Host, class: Class, sent: &[u64]) -> Result<u64, Finding> {
    let mut gaps = 0;
    let mut rest = sent;
    while !rest.is_empty() {
        let found = number(&host.of_class(class).await?.envelope.message);
        let place = rest.iter().position(|sent| Some(*sent) == found);
        let Some(place) = place else {
            let (name, next) = (class.name(), rest[0]);
            let how = format!("{name} message {found:?} comes where {next} or a later one may");
            return Err(Finding::Broken(how));
        };
        gaps += u64::from(place > 0);
        rest = &rest[place + 1..];
    }
    Ok(gaps)
}

/// A node of another cluster knows where to find this one: it is told that it does not belong, and
/// nothing it says is heard.
pub(super) async fn another_cluster_is_not_heard(stage: &mut Stage) -> Verdict {
    let [mut one, two] = stage.hosts().await?;
    let mut stranger = identity(3);
    stranger.cluster = ClusterId::new(0xc2);
    let mut foreign = stage.start(stranger, InboxLimits::default())?;
    let hosts = [&one, &two, &foreign];
    let (ours, theirs) = (stage.roster(&one, &hosts), stage.roster(&foreign, &hosts));
    foreign.transport().set_roster(theirs);
    one.transport().set_roster(ours);
    let told = foreign.refused(one.node()).await?;
    ensure(told.code == RefusalCode::Cluster, || format!("expected Cluster, found {told:?}"))?;
    let told = one.refused(foreign.node()).await?;
    ensure(told.code == RefusalCode::Cluster, || format!("expected Cluster, found {told:?}"))?;
    for class in Class::ALL {
        for (from, to) in [(&foreign, &one), (&one, &foreign)] {
            let to = to.node();
            from.must_refuse(to, numbered(class, 1, 10), SendError::Down { to }).await?;
        }
        two.must_send(one.node(), numbered(class, 2, 10)).await?;
        one.must_get(class, 2).await?;
    }
    finish([one, two, foreign]).await
}

/// The membership has recorded an incarnation and a node shows another: it is told, and not heard
/// until it is readmitted.
pub(super) async fn another_incarnation_than_recorded_is_refused(stage: &mut Stage) -> Verdict {
    let [mut one, two] = stage.hosts().await?;
    let mut blank = identity(3);
    blank.peer.incarnation = Incarnation::new(0x333);
    let mut ours = stage.roster(&one, &[&one, &two]);
    let mut record = |host: &Host, incarnation| {
        ours.entry(blank.peer.node).or_default().incarnation = Some(Incarnation::new(incarnation));
        host.transport().set_roster(ours.clone());
    };
    record(&one, 3);
    let mut wiped = stage.start(blank, InboxLimits::default())?;
    let theirs = stage.roster(&wiped, &[&one, &two, &wiped]);
    wiped.transport().set_roster(theirs);
    let told = wiped.refused(one.node()).await?;
    ensure(told.code == RefusalCode::Incarnation, || {
        format!("expected Incarnation, found {told:?}")
    })?;
    for class in Class::ALL {
        let down = SendError::Down { to: one.node() };
        wiped.must_refuse(one.node(), numbered(class, 1, 10), down).await?;
        two.must_send(one.node(), numbered(class, 2, 10)).await?;
        one.must_get(class, 2).await?;
    }
    record(&one, 0x333);
    wiped.up(one.node()).await?;
    for class in Class::ALL {
        wiped.must_send(one.node(), numbered(class, 3, 10)).await?;
        let from = one.of_class(class).await?.envelope.message.from;
        ensure(from == blank.peer, || format!("{} is readmitted, {from} is heard", blank.peer))?;
    }
    finish([one, two, wiped]).await
}

/// A node is taken out of the roster, and comes back into it: it is lost first and met afterwards,
/// however fast it comes back.
pub(super) async fn who_leaves_the_roster_is_hung_up_on(stage: &mut Stage) -> Verdict {
    stage.nature.hangs_up.needed()?;
    let [mut one, mut two] = stage.hosts().await?;
    let mut sent = 0;
    for round in 0..20 {
        one.transport().set_roster(Roster::new());
        if round % 2 == 0 {
            one.down(two.node()).await?;
            stage.introduce(&[&one, &two]);
        } else {
            stage.introduce(&[&one, &two]);
            one.down(two.node()).await?;
        }
        one.up(two.node()).await?;
        for class in Class::ALL {
            sent = send_until_got(&mut one, &mut two, class, sent).await?;
        }
    }
    finish([one, two]).await
}

/// Sends a message until it arrives, each time with a new number: where two nodes dial each other
/// at once, a connection may be lost once more. Whatever is lost with it is told. Gives a number
/// that is not used yet.
async fn send_until_got(
    from: &mut Host,
    to: &mut Host,
    class: Class,
    unused: u64,
) -> Result<u64, Finding> {
    let node = to.node();
    for sent in unused.. {
        let is_taken = from.send(node, numbered(class, sent, 10)).await?.is_ok();
        let got = async {
            while number(&to.of_class(class).await?.envelope.message) != Some(sent) {}
            Ok(())
        };
        tokio::select! {
            got = got, if is_taken => return got.map(|()| sent + 1),
            lost = from.down(node) => lost?,
        }
        from.up(node).await?;
    }
    unreachable!("numbers do not run out")
}

/// A transport sends nothing before its start, and has one start only.
pub(super) async fn a_transport_is_started_once(stage: &mut Stage) -> Verdict {
    let (mut host, inbox) = stage.idle(identity(1), InboxLimits::default());
    host.must_refuse(node(2), numbered(Class::Control, 1, 0), SendError::Stopped).await?;
    let started = host.transport().start(host.identity, inbox.clone());
    ensure(started.is_ok(), || format!("cannot start: {started:?}"))?;
    let again = host.transport().start(host.identity, inbox.clone());
    ensure(matches!(again, Err(NetError::AlreadyStarted)), || {
        format!("started twice: expected AlreadyStarted, found {again:?}")
    })?;
    host.transport().stop();
    let again = host.transport().start(host.identity, inbox);
    ensure(matches!(again, Err(NetError::AlreadyStarted)), || {
        format!("started after a stop: expected AlreadyStarted, found {again:?}")
    })?;
    host.end().await?;
    let (idle, inbox) = stage.idle(identity(2), InboxLimits::default());
    idle.transport().stop();
    let late = idle.transport().start(idle.identity, inbox);
    ensure(matches!(late, Err(NetError::AlreadyStarted)), || {
        format!("stopped before its start: expected AlreadyStarted, found {late:?}")
    })
}

/// A node stops in the middle of traffic: it sends no more, the others are told, and nothing that
/// is sent to it afterwards arrives.
pub(super) async fn stop_ends_everything(stage: &mut Stage) -> Verdict {
    const LATE: u64 = 1_000;
    let [mut one, mut two, mut three] = stage.hosts().await?;
    let stopped = two.node();
    for number in 0..20 {
        for class in Class::ALL {
            one.must_send(stopped, numbered(class, number, 1_000)).await?;
            two.must_send(one.node(), numbered(class, number, 1_000)).await?;
        }
    }
    two.transport().stop();
    two.transport().stop();
    for to in [one.node(), node(9)] {
        two.must_refuse(to, numbered(Class::Bulk, LATE, 10), SendError::Stopped).await?;
    }
    one.down(stopped).await?;
    three.down(stopped).await?;
    for class in Class::ALL {
        // Refused or lost.
        let _: Result<(), SendError> = one.send(stopped, numbered(class, LATE, 10)).await?;
        one.must_send(three.node(), numbered(class, LATE, 10)).await?;
        three.must_get(class, LATE).await?;
    }
    for (host, name) in [(&mut two, "to"), (&mut one, "by")] {
        let left = host.end().await?;
        let is_late = left.iter().any(|left| number(&left.envelope.message) == Some(LATE));
        ensure(!is_late, || format!("what was sent {name} a stopped node arrives"))?;
    }
    finish([three]).await
}
