//! Laws of a disk that fails, is full or rots, and of what is said while it does not.
//!
//! Read next: `crash.rs`.

use std::panic::{AssertUnwindSafe, catch_unwind};

use raft_core::Index;
use raft_storage::{Storage, contract};

use super::super::{Finding, Verdict, broken, ensure, panicked};
use super::facts::{Facts, GROUPS};
use super::life::{Life, Stage, TICK, identity, live, writes_in};
use super::story::{Story, Write};
use crate::choice::Choices;
use crate::disk::{CallFault, Crash, DamageKind, SimDisk};

/// The suite of `raft_storage::contract`, with restarts.
pub(super) fn the_contract_without_crashes_is_kept(stage: &mut Stage<'_>) -> Verdict {
    struct Undisturbed<'a, 'b> {
        stage: &'a mut Stage<'b>,
        disk: SimDisk,
    }

    impl contract::Subject for Undisturbed<'_, '_> {
        fn blank(&mut self) -> Box<dyn Storage> {
            self.disk = self.stage.blank(4096, 0);
            self.stage.open(&self.disk).expect("a blank disk is opened")
        }

        fn reopen(&mut self, storage: Box<dyn Storage>) -> Option<Box<dyn Storage>> {
            drop(storage);
            Some(self.stage.open(&self.disk).expect("a good disk is opened again"))
        }
    }

    let disk = stage.blank(4096, 0);
    let mut subject = Undisturbed { stage, disk };
    let checked = catch_unwind(AssertUnwindSafe(|| contract::check(&mut subject)));
    checked.map_err(|panic| broken(panicked(&*panic)))
}

/// Whoever says that something is durable has synced it, names included.
pub(super) fn no_receipt_is_given_while_blocks_are_pending(stage: &mut Stage<'_>) -> Verdict {
    for seed in 0..STORIES {
        let story = Story::random(seed, CALLS);
        let (disk, mut storage) = stage.owned(4096, seed)?;
        for (number, call) in (1..).zip(&story.calls) {
            let written = storage.persist(&call.iter().map(Write::persist).collect::<Vec<_>>());
            written.map_err(|error| broken(format_args!("call {number}: {error}")))?;
            let pending = disk.pending_of(|path| stage.subject.is_log(path));
            ensure(pending == 0, || {
                format!("story {seed}, call {number}: {pending} blocks and names are pending")
            })?;
        }
    }
    Ok(())
}

/// After an error everybody hears it, whatever they ask, although the disk works again.
pub(super) fn an_error_is_final(stage: &mut Stage<'_>) -> Verdict {
    each_error(stage, |_, end| {
        let Some(error) = &end.life.error else { return Ok(()) };
        let first = format!("{error:?}");
        let batch: Vec<_> = end.story.calls[0].iter().map(Write::persist).collect();
        let storage = end.storage.as_mut();
        let range = Index::new(1)..Index::new(2);
        let said = [
            ("persist", storage.persist(&batch).err()),
            ("restore", storage.restore(GROUPS[0]).err()),
            ("entries", storage.entries(GROUPS[0], range, 1).err()),
            ("persist again", storage.persist(&batch).err()),
        ];
        for (call, error) in said {
            let later = error.map(|error| format!("{error:?}"));
            ensure(later.as_ref() == Some(&first), || {
                format!("an error was {first}, and then to `{call}`: {later:?}")
            })?;
        }
        Ok(())
    })
}

/// Whichever call failed: what was acknowledged is there, even if the power fails right after, and
/// nothing is that is no part of the story.
pub(super) fn what_was_acknowledged_survives_errors(stage: &mut Stage<'_>) -> Verdict {
    each_error(stage, |stage, end| {
        end.disk.crash(end.disk.job_end(), Crash::Power);
        end.must_be_kept(stage)
    })
}

/// How a story ended, with an error or without.
struct End {
    story: Story,
    disk: SimDisk,
    storage: Box<dyn Storage>,
    life: Life,
}

impl End {
    /// Tells a random story on a disk to which this was done.
    fn of(
        stage: &mut Stage<'_>,
        seed: u64,
        disturb: impl FnOnce(&SimDisk),
    ) -> Result<Self, Finding> {
        let story = Story::random(seed % STORIES, CALLS);
        let (disk, mut storage) = stage.owned(4096, seed)?;
        disturb(&disk);
        let life = live(&disk, storage.as_mut(), &story);
        disk.heal();
        Ok(Self { story, disk, storage, life })
    }

    /// What was acknowledged must be there for a new process.
    fn must_be_kept(&self, stage: &mut Stage<'_>) -> Verdict {
        let told = self.life.acknowledged();
        let found = stage.look(&self.disk).map_err(broken)?;
        let found = writes_in(&found, &self.story).map_err(broken)?;
        ensure(found >= told, || format!("{told} writes were acknowledged, {found} are there"))
    }
}

/// Tells a story once for each call that fails, and judges what came of it.
fn each_error(
    stage: &mut Stage<'_>,
    judge: impl Fn(&mut Stage<'_>, &mut End) -> Verdict,
) -> Verdict {
    for fault in [CallFault::Sync, CallFault::Write] {
        for after in 0..FAULTS {
            let mut end = End::of(stage, after, |disk| disk.fail(fault, after))?;
            judge(stage, &mut end)
                .map_err(|finding| named(finding, format_args!("{fault:?} {after} fails")))?;
        }
    }
    Ok(())
}

/// A write that does not fit is an error like others; with room again, a new process goes on.
pub(super) fn a_full_disk_loses_nothing(stage: &mut Stage<'_>) -> Verdict {
    for step in 0..ROOMS {
        let mut end = End::of(stage, step, |disk| disk.set_room(Some(step * ROOM_STEP)))?;
        let crash = if step % 2 == 0 { Crash::Process } else { Crash::Power };
        end.disk.crash(end.disk.job_end(), crash);
        let kept = end.must_be_kept(stage).and_then(|()| {
            end.storage = stage.must_open(&end.disk)?;
            let write = Facts::of(end.storage.as_mut()).map_err(broken)?;
            let writes = writes_in(&write, &end.story).map_err(broken)?;
            let next = end.story.calls.iter().flatten().nth(writes);
            let next: Vec<_> = next.map(Write::persist).into_iter().collect();
            let written = end.storage.persist(&next);
            written.map_err(|error| broken(format_args!("with room again: {error}")))
        });
        kept.map_err(|finding| named(finding, format_args!("{} bytes of room", step * ROOM_STEP)))?;
    }
    Ok(())
}

/// Whatever fails while a disk is opened, the next time everything is there.
pub(super) fn an_opening_that_fails_changes_nothing(stage: &mut Stage<'_>) -> Verdict {
    for seed in 0..STORIES {
        let end = End::of(stage, seed, |_| ())?;
        let cut = end.disk.job_end() - TICK * (1 + seed);
        end.disk.crash(cut, Crash::Power);
        let before = stage.look(&end.disk.fork(Choices::random(seed))).map_err(broken)?;
        for fault in [CallFault::Open, CallFault::Read, CallFault::Sync, CallFault::Write] {
            for after in 0..OPENINGS {
                let disk = end.disk.fork(Choices::random(after));
                disk.fail(fault, after);
                let opened = stage.open(&disk).map(|mut storage| Facts::of(storage.as_mut()));
                disk.crash(disk.job_end(), Crash::Process);
                let after_it = stage.look(&disk);
                ensure(after_it.as_ref() == Ok(&before), || {
                    let found = after_it.map_or_else(|error| error, |facts| facts.describe());
                    let opened = if opened.is_ok() { "is opened" } else { "is not opened" };
                    let was = before.describe();
                    format!("with {fault:?} {after} failing it {opened}; {was} is then {found}")
                })?;
            }
        }
    }
    Ok(())
}

/// A disk is nobody's or somebody's, wherever the power fails while it is given its identity.
pub(super) fn a_disk_is_owned_whole_or_not_at_all(stage: &mut Stage<'_>) -> Verdict {
    let disk = stage.blank(512, 0);
    let mut storage = stage.must_open(&disk)?;
    disk.begin_job(disk.job_end());
    let began = disk.job_end();
    let given = storage.initialize(identity(1));
    given.map_err(|error| broken(format_args!("a blank disk takes no identity: {error}")))?;
    let end = disk.job_end();
    let frozen = disk.fork(Choices::replay(&[]));
    for at in (began..=end).step_by(usize::try_from(TICK).expect("small")) {
        for seed in 0..OWNERS {
            let disk = frozen.fork(Choices::random(seed));
            disk.crash(at, Crash::Power);
            let when = format!("power loss {seed} after {at} ns");
            let mut storage = stage.must_open(&disk).map_err(|finding| named(finding, &when))?;
            let owner = storage.identity();
            ensure(owner == Some(identity(1)) || (owner.is_none() && at < end), || {
                format!("{when}, with {end} ns to the receipt: the identity is {owner:?}")
            })?;
            let owner = owner.unwrap_or_else(|| identity(2));
            let again = storage.initialize(owner);
            again.map_err(|error| broken(format_args!("{when}: {error}")))?;
            disk.crash(disk.job_end(), Crash::Power);
            drop(storage);
            let found = stage.must_open(&disk)?.identity();
            ensure(found == Some(owner), || format!("{when}: {owner:?} became {found:?}"))?;
        }
    }
    Ok(())
}

/// What was durable and reads differently is refused, or mended; it is not taken for a write that
/// was cut short, and nothing else is made of it. Only damage is done whose loss can be proven.
pub(super) fn damage_is_not_taken_for_a_torn_tail(stage: &mut Stage<'_>) -> Verdict {
    for seed in 0..DAMAGES {
        let end = End::of(stage, seed, |_| ())?;
        end.disk.crash(end.disk.job_end(), Crash::Process);
        drop(end.storage);
        let kinds = [
            DamageKind::BitRot,
            DamageKind::Unreadable,
            DamageKind::Stale,
            DamageKind::Misdirected,
        ];
        for (number, kind) in (0..).zip(kinds) {
            let disk = end.disk.fork(Choices::random(seed << 8 | number));
            let Some(damage) = disk.damage(u64::MAX, kind) else { continue };
            let Ok(mut storage) = stage.open(&disk) else { continue };
            let owner = storage.identity();
            let whole = end.story.states.last();
            let is_seen = Facts::of(storage.as_mut()).map_or(true, |facts| Some(&facts) == whole);
            ensure(owner == Some(identity(1)) && is_seen, || {
                let found = Facts::of(storage.as_mut()).map_or_else(|e| e, |f| f.describe());
                format!("story {seed}, {damage}: taken for {owner:?} with {found}")
            })?;
        }
    }
    Ok(())
}

/// Says where something was found.
fn named(finding: Finding, place: impl std::fmt::Display) -> Finding {
    match finding {
        Finding::Broken(how) => broken(format_args!("{place}: {how}")),
        Finding::NotRun(_) => finding,
    }
}

/// Random stories, and calls in each.
const STORIES: u64 = 4;
const CALLS: usize = 10;

/// Calls that are let fail, one after the other: more than a story makes of a kind.
const FAULTS: u64 = 40;

/// Rooms to be filled, from none on, and how much larger each is.
const ROOMS: u64 = 24;
const ROOM_STEP: u64 = 3_000;

/// Calls that are let fail while a disk is opened.
const OPENINGS: u64 = 8;

/// Ways in which the power fails at each call of an initialization.
const OWNERS: u64 = 8;

/// Stories whose disk is damaged.
const DAMAGES: u64 = 30;
