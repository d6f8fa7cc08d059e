//! Laws of power losses: what was said to be durable is there afterwards.
//!
//! What surrounds it may be there or not: laws say nothing about it, but that nothing comes to be
//! that nobody wrote. Read next: `kit/storage.rs`.

use super::super::{Finding, Verdict, ensure};
use super::ROUNDS;
use super::names::lock;
use super::stage::{Stage, pattern, same};

/// Runs a story on as many blank disks as there are rounds.
fn often(stage: &mut Stage<'_>, mut story: impl FnMut(&mut Stage<'_>, u64) -> Verdict) -> Verdict {
    for round in 0..ROUNDS {
        if round > 0 {
            stage.renew();
        }
        story(stage, round).map_err(|finding| match finding {
            Finding::Broken(how) => Finding::Broken(format!("round {round}: {how}")),
            Finding::NotRun(_) => finding,
        })?;
    }
    Ok(())
}

/// Synced bytes of a durable file are there, whatever was written elsewhere since.
pub(super) fn what_was_synced_survives_a_power_loss(stage: &mut Stage<'_>) -> Verdict {
    often(stage, |stage, round| {
        let mut expected = pattern(1, 16_384);
        let mut file = stage.durable("file", &expected)?;
        if round % 2 == 0 {
            file.write(3000, &pattern(2, 13_384))?;
            file.sync()?;
            expected.truncate(3000);
            expected.extend(pattern(2, 13_384));
        }
        // Far away, so that no block is shared, however large blocks are.
        file.write(FAR, &pattern(3, 9000))?;
        stage.create("other")?.write(0, &pattern(3, 9000))?;
        stage.lose_power()?;
        let Some(file) = stage.find("file")? else {
            return ensure(false, || "a durable file is gone".into());
        };
        file.must_hold(0, &expected, "after a power loss")?;
        let kept = file.len()?;
        ensure(kept <= FAR + 9000, || format!("it has {kept} bytes"))
    })
}

/// A sync is of the file, not of what this handle wrote: who finds bytes makes them durable.
pub(super) fn a_sync_covers_what_other_handles_wrote(stage: &mut Stage<'_>) -> Verdict {
    often(stage, |stage, round| {
        let mut one = stage.durable("file", &pattern(1, 9000))?;
        one.write(5000, &pattern(2, 9000))?;
        if round % 2 == 0 {
            drop(one);
        }
        stage.open("file", raft_storage::disk::OpenMode::ReadWrite)?.sync()?;
        stage.lose_power()?;
        let expected = [&pattern(1, 9000)[..5000], &pattern(2, 9000)].concat();
        let found = stage.content("file")?.unwrap_or_default();
        same(&found, &expected, "after a power loss")
    })
}

/// The length survives with the bytes.
pub(super) fn allocated_room_survives_once_synced(stage: &mut Stage<'_>) -> Verdict {
    often(stage, |stage, _| {
        let mut file = stage.durable("file", &pattern(1, 100))?;
        file.allocate(50_000)?;
        file.sync()?;
        stage.lose_power()?;
        let expected = [pattern(1, 100), vec![0; 49_900]].concat();
        let found = stage.content("file")?.unwrap_or_default();
        same(&found, &expected, "after a power loss")
    })
}

/// What was being written holds old bytes, new bytes, or the zeros of new room: nothing of other
/// files, nothing of nobody.
pub(super) fn what_was_never_written_is_never_read(stage: &mut Stage<'_>) -> Verdict {
    stage.subject.tears_cleanly()?;
    often(stage, |stage, round| {
        stage.durable("gone", &vec![SECRET; 40_000])?;
        stage.remove("gone")?;
        stage.sync_root()?;
        let (old, new) = (pattern(1, 20_000), pattern(2, 30_000));
        let mut file = stage.durable("file", &old)?;
        file.write(5000, &new[5000..])?;
        if round % 2 == 0 {
            file.allocate(60_000)?;
        }
        stage.lose_power()?;
        let found = stage.content("file")?.unwrap_or_default();
        ensure(found.len() >= old.len(), || "a durable file became shorter".into())?;
        for (at, byte) in found.iter().enumerate() {
            let was = old.get(at).copied().unwrap_or(0);
            let is_known = *byte == was || (at >= 5000 && new.get(at) == Some(byte));
            ensure(is_known, || format!("byte {at} is {byte:#04x}, which nobody wrote there"))?;
        }
        Ok(())
    })
}

/// New names, and those of a directory below.
pub(super) fn names_survive_once_their_directory_is_synced(stage: &mut Stage<'_>) -> Verdict {
    often(stage, |stage, _| {
        let inner = stage.path("inner");
        let made = stage.disk().create_directory(&inner);
        ensure(made.is_ok(), || format!("cannot create a directory: {made:?}"))?;
        stage.create("before")?;
        stage.rename("before", "after")?;
        for name in ["file", "inner/file"] {
            let mut file = stage.create(name)?;
            file.write(0, &pattern(1, 5000))?;
            file.sync()?;
        }
        stage.sync_root()?;
        let synced = stage.disk().sync_directory(&inner);
        ensure(synced.is_ok(), || format!("cannot sync a directory: {synced:?}"))?;
        // Names given later are no reason to lose these.
        stage.create("late")?;
        stage.lose_power()?;
        for name in ["file", "inner/file"] {
            let found = stage.content(name)?;
            ensure(found.is_some(), || format!("{name} is gone"))?;
            same(&found.unwrap_or_default(), &pattern(1, 5000), name)?;
        }
        ensure(stage.find("after")?.is_some(), || "a renamed file is gone".into())?;
        ensure(stage.find("before")?.is_none(), || "a renamed file has its old name".into())?;
        let listed = stage.list(&inner)?;
        ensure(listed == [inner.join("file")], || format!("listed is {listed:?}"))
    })
}

/// A file whose removal is durable does not come back.
pub(super) fn a_removed_file_stays_away_once_its_directory_is_synced(
    stage: &mut Stage<'_>,
) -> Verdict {
    often(stage, |stage, _| {
        stage.durable("kept", &pattern(1, 100))?;
        stage.durable("file", &pattern(2, 100))?;
        stage.remove("file")?;
        stage.sync_root()?;
        stage.lose_power()?;
        ensure(stage.find("file")?.is_none(), || "a removed file is back".into())?;
        ensure(stage.find("kept")?.is_some(), || "another file is gone".into())
    })
}

/// Before the directory is synced it has its old name or its new one; what had the new one is
/// replaced whole or not at all.
pub(super) fn a_renamed_file_is_found_under_one_of_both_names(stage: &mut Stage<'_>) -> Verdict {
    often(stage, |stage, round| {
        let replaces = round % 2 == 0;
        let (moved, target) = (pattern(1, 7000), pattern(2, 9000));
        if replaces {
            stage.durable("to", &target)?;
        }
        stage.durable("from", &moved)?;
        stage.rename("from", "to")?;
        stage.lose_power()?;
        let (from, to) = (stage.content("from")?, stage.content("to")?);
        let before = from.as_ref() == Some(&moved) && to == replaces.then_some(target);
        let after = from.is_none() && to.as_ref() == Some(&moved);
        ensure(before || after, || {
            let [from, to] = [from, to].map(|found| found.map(|bytes| bytes.len()));
            format!("neither before nor after: bytes under the old name {from:?}, new {to:?}")
        })
    })
}

/// A sync that fails says so, or it did not fail: what it calls durable survives.
pub(super) fn a_failed_sync_is_not_followed_by_a_false_success(stage: &mut Stage<'_>) -> Verdict {
    often(stage, |stage, _| {
        let mut file = stage.durable("file", &pattern(1, 100))?;
        file.write(0, &pattern(2, 30_000))?;
        stage.subject.fail_next_sync()?;
        if file.file.sync_data().is_err() {
            return Ok(());
        }
        stage.lose_power()?;
        let found = stage.content("file")?.unwrap_or_default();
        same(&found, &pattern(2, 30_000), "a failing sync reported success; after a power loss")
    })
}

/// What is written after a failed sync, the same bytes again among it, is durable once a sync says
/// so. What was written before is not asked for: nobody knows what became of it.
pub(super) fn what_is_synced_after_a_failed_sync_survives(stage: &mut Stage<'_>) -> Verdict {
    often(stage, |stage, round| {
        let mut file = stage.durable("file", &pattern(1, 100))?;
        let bytes = pattern(2, 30_000);
        file.write(0, &bytes)?;
        stage.subject.fail_next_sync()?;
        let failed = file.file.sync_data();
        let bytes = if round % 2 == 0 { bytes } else { pattern(3, 30_000) };
        file.write(0, &bytes)?;
        file.write(30_000, &pattern(1, 9000))?;
        if file.file.sync_data().is_err() {
            // A disk may refuse for ever, as long as it does not say that all is well.
            return Ok(());
        }
        stage.lose_power()?;
        let found = stage.content("file")?.unwrap_or_default();
        let expected = [bytes, pattern(1, 9000)].concat();
        same(&found, &expected, format_args!("a sync gave {failed:?}, the next success"))
    })
}

/// Who held it is gone.
pub(super) fn a_lock_does_not_survive_a_power_loss(stage: &mut Stage<'_>) -> Verdict {
    let held = lock(stage, "LOCK")?;
    stage.lose_power()?;
    let again = lock(stage, "LOCK")?;
    drop(held);
    ensure(stage.disk().lock(&stage.path("LOCK")).is_err(), || "it is held by two".into())?;
    drop(again);
    Ok(())
}

/// Farther apart than blocks are long.
const FAR: u64 = 1 << 16;

/// A byte that no pattern has: it belongs to a file that is gone.
const SECRET: u8 = 254;
