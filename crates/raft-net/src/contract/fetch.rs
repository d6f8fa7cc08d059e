//! Snapshots: each chunk as it is stored, only those that are wanted, and an end that is told once.
//!
//! Read next: `tests/broken.rs`, transports that break these laws.

use std::sync::Arc;

use raft_core::{FetchOutcome, GroupId, SnapshotError, SnapshotId};

use super::cargo::{
    Fetch, GROUP, Gate, Opened, Quirk, SNAPSHOT, Store, Whim, chunks, large, of_every_size,
};
use super::sample::{node, numbered};
use super::stage::{Host, Stage, finish, identity};
use super::{Verdict, ensure};
use crate::{Chunks, Class, InboxLimits};

/// Chunks of every size, from the node that was named, each once; and all of it is counted.
pub(super) async fn every_chunk_arrives_as_it_is_stored(stage: &mut Stage) -> Verdict {
    let [one, two, three] = stage.hosts().await?;
    let hosts = [&one, &two, &three];
    let stored = [of_every_size(100), of_every_size(200), of_every_size(300)];
    for (host, chunks) in hosts.into_iter().zip(&stored) {
        host.transport().serve(Store::new(chunks.clone(), Quirk::None));
    }
    for (by, from) in [(0, 1), (0, 2), (1, 0), (2, 1)] {
        let fetch = Fetch::begin(hosts[by], hosts[from].node(), 0..6, Whim::None).await?;
        fetch.end_with(hosts[by], FetchOutcome::Complete, &stored[from]).await?;
    }
    let bytes: u64 = stored[0].iter().map(|chunk| chunk.bytes.len() as u64).sum();
    let twice = Chunks { chunks: 12, bytes: 2 * bytes };
    let fetched = one.transport().stats().snapshots;
    ensure(fetched.fetched == twice && (fetched.begun, fetched.complete) == (2, 2), || {
        format!("{twice:?} were fetched in two fetches, counted is {fetched:?}")
    })?;
    let is_counted = |transport: &dyn crate::Transport| transport.stats().snapshots.served == twice;
    two.eventually("what was served is counted", is_counted).await?;
    finish([one, two, three]).await
}

/// Of a snapshot of which some is there already, the rest is asked for and nothing else; and the
/// store may be handed in before the start.
pub(super) async fn a_fetch_goes_on_where_it_stopped(stage: &mut Stage) -> Verdict {
    let (two, inbox) = stage.idle(identity(2), InboxLimits::default());
    let stored = chunks(0);
    let store = Store::new(stored.clone(), Quirk::None);
    two.transport().serve(Arc::clone(&store) as _);
    let started = two.transport().start(two.identity, inbox);
    ensure(started.is_ok(), || format!("cannot start: {started:?}"))?;
    let mut one = stage.start(identity(1), InboxLimits::default())?;
    stage.introduce(&[&one, &two]);
    one.up(two.node()).await?;

    let missing = [1, 3, 5];
    let fetch = Fetch::begin(&one, two.node(), missing, Whim::None).await?;
    let expected = missing.map(|number| stored[number as usize].clone());
    fetch.end_with(&one, FetchOutcome::Complete, &expected).await?;
    ensure(store.asked() == missing, || {
        format!("chunks {missing:?} are missing, asked for is {:?}", store.asked())
    })?;
    let whole = Fetch::begin(&one, two.node(), [], Whim::None).await?;
    whole.end_with(&one, FetchOutcome::Complete, &[]).await?;
    ensure(store.asked() == missing, || "asked for a chunk though nothing is missing".to_owned())?;
    finish([one, two]).await
}

/// A node without a store, without this snapshot, or that lets go of it half-way, says so.
pub(super) async fn what_is_gone_is_said_to_be(stage: &mut Stage) -> Verdict {
    let [one, two] = stage.hosts().await?;
    let from = two.node();
    let nothing = Fetch::begin(&one, from, 0..6, Whim::None).await?;
    nothing.end_with(&one, FetchOutcome::Gone, &[]).await?;

    let stored = chunks(0);
    two.transport().serve(Store::new(stored.clone(), Quirk::GoneAt(2)));
    let others = [(GROUP, SnapshotId::new(1)), (GroupId::new(1), SNAPSHOT)];
    for other in others {
        let fetch = Fetch::begin_of(&one, from, other, 0..6, Whim::None).await?;
        fetch.end_with(&one, FetchOutcome::Gone, &[]).await?;
    }
    let fetch = Fetch::begin(&one, from, 0..6, Whim::None).await?;
    fetch.end_with(&one, FetchOutcome::Gone, &stored[..2]).await?;
    finish([one, two]).await
}

/// A connection breaks while a chunk is on its way: the fetch ends, keeps what it has, and another
/// one brings the rest. From nobody, and from a node that cannot read, nothing comes.
pub(super) async fn a_lost_node_breaks_a_fetch(stage: &mut Stage) -> Verdict {
    let [one, mut two] = stage.hosts().await?;
    let (from, gate, stored) = (two.node(), Gate::shut(), chunks(0));
    let _opened = Opened(Arc::clone(&gate));
    two.transport().serve(Store::new(stored.clone(), Quirk::Holds(3, Arc::clone(&gate))));
    let fetch = Fetch::begin(&one, from, 0..6, Whim::None).await?;
    one.within("a request for chunk 3", gate.reached()).await?;
    stage.sever(&one, &two);
    fetch.end_with(&one, FetchOutcome::Broken, &stored[..3]).await?;

    gate.open();
    let rest = Fetch::begin(&one, from, 3..6, Whim::None).await?;
    rest.end_with(&one, FetchOutcome::Complete, &stored[3..]).await?;

    two.transport().serve(Store::new(stored.clone(), Quirk::Fails(1)));
    let unread = Fetch::begin(&one, from, 0..6, Whim::None).await?;
    unread.end_with(&one, FetchOutcome::Broken, &stored[..1]).await?;

    two.end().await?;
    for nobody in [from, node(9), one.node()] {
        let fetch = Fetch::begin(&one, nobody, 0..6, Whim::None).await?;
        fetch.end_with(&one, FetchOutcome::Broken, &[]).await?;
    }
    let counted = one.transport().stats().snapshots;
    ensure((counted.begun, counted.complete, counted.broken) == (6, 1, 5), || {
        format!("1 of 6 fetches was complete, counted is {counted:?}")
    })?;
    finish([one]).await
}

/// A damaged chunk is asked for again and never shown to the sink; damage that stays ends it all.
pub(super) async fn a_damaged_chunk_is_asked_for_again(stage: &mut Stage) -> Verdict {
    const OFTEN: usize = 100;
    let [one, two] = stage.hosts().await?;
    let stored = chunks(0);
    let store = Store::new(stored.clone(), Quirk::Damages(4, 1));
    two.transport().serve(Arc::clone(&store) as _);
    let fetch = Fetch::begin(&one, two.node(), 0..6, Whim::None).await?;
    fetch.end_with(&one, FetchOutcome::Complete, &stored).await?;
    ensure(store.asked() == [0, 1, 2, 3, 4, 4, 5], || {
        format!("chunk 4 was damaged once, asked for is {:?}", store.asked())
    })?;
    let damaged = one.transport().stats().snapshots.damaged;
    ensure(damaged == 1, || format!("1 chunk was damaged, {damaged} are counted"))?;

    let store = Store::new(stored.clone(), Quirk::Damages(4, u32::MAX));
    two.transport().serve(Arc::clone(&store) as _);
    let fetch = Fetch::begin(&one, two.node(), 0..6, Whim::None).await?;
    fetch.end_with(&one, FetchOutcome::Broken, &stored[..4]).await?;
    let asked = store.asked().len();
    ensure(asked > 5 && asked < OFTEN, || format!("asked {asked} times for damage that stays"))?;
    finish([one, two]).await
}

/// What the sink does not accept ends the fetch with the sink's own words, and nothing more comes.
pub(super) async fn what_the_sink_refuses_ends_a_fetch(stage: &mut Stage) -> Verdict {
    let [one, two] = stage.hosts().await?;
    let stored = chunks(0);
    let store = Store::new(stored.clone(), Quirk::None);
    two.transport().serve(Arc::clone(&store) as _);
    let error = SnapshotError::malformed("what the manifest promised");
    let whim = Whim::Refuses(2, error.clone());
    let fetch = Fetch::begin(&one, two.node(), 0..6, whim).await?;
    fetch.end_with(&one, FetchOutcome::Failed(error), &stored[..2]).await?;
    let asked = store.asked();
    ensure(asked.iter().all(|number| *number <= 3), || {
        format!("chunk 2 is refused, asked for is {asked:?}")
    })?;
    finish([one, two]).await
}

/// While a large snapshot is under way in both directions, and while its sink or its store stands
/// still, messages of all classes come through.
pub(super) async fn messages_pass_a_fetch(stage: &mut Stage) -> Verdict {
    const COUNT: u32 = 16;
    let [mut one, mut two] = stage.hosts().await?;
    let (slow_store, slow_sink) = (Gate::shut(), Gate::shut());
    let _opened = (Opened(Arc::clone(&slow_store)), Opened(Arc::clone(&slow_sink)));
    let stored = large(COUNT);
    let held = Quirk::Holds(8, Arc::clone(&slow_store));
    one.transport().serve(Store::new(stored.clone(), held));
    two.transport().serve(Store::new(stored.clone(), Quirk::None));
    let whim = Whim::Holds(8, Arc::clone(&slow_sink));
    let held_by_sink = Fetch::begin(&one, two.node(), 0..COUNT, whim).await?;
    let held_by_store = Fetch::begin(&two, one.node(), 0..COUNT, Whim::None).await?;
    exchange(&mut one, &mut two, 0).await?;
    one.within("a request for chunk 8", slow_store.reached()).await?;
    one.within("chunk 8", slow_sink.reached()).await?;
    exchange(&mut one, &mut two, 100).await?;
    slow_store.open();
    slow_sink.open();
    exchange(&mut two, &mut one, 200).await?;
    held_by_sink.end_with(&one, FetchOutcome::Complete, &stored).await?;
    held_by_store.end_with(&two, FetchOutcome::Complete, &stored).await?;
    finish([one, two]).await
}

/// Messages of all classes, there and back.
async fn exchange(one: &mut Host, two: &mut Host, first: u64) -> Verdict {
    for number in first..first + 20 {
        for class in Class::ALL {
            one.must_send(two.node(), numbered(class, number, 1_000)).await?;
            two.must_get(class, number).await?;
            two.must_send(one.node(), numbered(class, number, 1_000)).await?;
            one.must_get(class, number).await?;
        }
    }
    Ok(())
}

/// Whatever stands still, the caller of `fetch` goes on.
pub(super) async fn fetching_never_blocks(stage: &mut Stage) -> Verdict {
    let [one, two] = stage.hosts().await?;
    let (store, sink, stored) = (Gate::shut(), Gate::shut(), chunks(0));
    let _opened = (Opened(Arc::clone(&store)), Opened(Arc::clone(&sink)));
    two.transport().serve(Store::new(stored.clone(), Quirk::Holds(0, Arc::clone(&store))));
    let whim = Whim::HoldsBack(Arc::clone(&sink));
    let by_sink = Fetch::begin(&one, two.node(), 0..6, whim).await?;
    let by_store = Fetch::begin(&one, two.node(), 0..6, Whim::None).await?;
    one.within("a request for chunk 0", store.reached()).await?;
    one.within("a question what is wanted", sink.reached()).await?;
    store.open();
    by_store.end_with(&one, FetchOutcome::Complete, &stored).await?;
    sink.open();
    by_sink.end_with(&one, FetchOutcome::Complete, &stored).await?;
    finish([one, two]).await
}

/// A transport that is stopped, at either end, closes what it fetches; and so does one that was
/// never started.
pub(super) async fn stop_closes_every_fetch(stage: &mut Stage) -> Verdict {
    let (idle, inbox) = stage.idle(identity(9), InboxLimits::default());
    let early = Fetch::begin(&idle, node(1), 0..6, Whim::None).await?;
    early.end_with(&idle, FetchOutcome::Broken, &[]).await?;
    drop((idle, inbox));

    let [one, two, three] = stage.hosts().await?;
    let (gate, stored) = (Gate::shut(), chunks(0));
    let _opened = Opened(Arc::clone(&gate));
    let store = Store::new(stored.clone(), Quirk::Holds(2, Arc::clone(&gate)));
    two.transport().serve(store);
    let fetching = [&one, &one, &three];
    let mut fetches = Vec::new();
    for host in fetching {
        fetches.push(Fetch::begin(host, two.node(), 0..6, Whim::None).await?);
        host.within("a request for chunk 2", gate.reached()).await?;
    }
    one.transport().stop();
    for fetch in fetches.drain(..2) {
        fetch.end_with(&one, FetchOutcome::Broken, &stored[..2]).await?;
    }
    let late = Fetch::begin(&one, two.node(), 0..6, Whim::None).await?;
    late.end_with(&one, FetchOutcome::Broken, &[]).await?;
    two.transport().stop();
    for fetch in fetches {
        fetch.end_with(&three, FetchOutcome::Broken, &stored[..2]).await?;
    }
    finish([one, two, three]).await
}
