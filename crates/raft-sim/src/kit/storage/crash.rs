//! Laws of crashes at every call of the disk.
//!
//! All of them look at the same crashes: a story is told once, then its disk is taken back to a
//! moment, in many ways. Read next: `fault.rs`.

use super::super::{Finding, Verdict, broken};
use super::facts::Facts;
use super::life::{Life, Stage, TICK, live, writes_in};
use super::story::Story;
use crate::choice::Choices;
use crate::disk::{Crash, SimDisk};

/// A crash, and what was found after it.
pub(super) struct Landing {
    /// Which crash it was, for people.
    name: String,
    /// How many writes were acknowledged before it.
    acknowledged: usize,
    /// What a new process finds.
    opened: Result<Found, String>,
}

struct Found {
    /// How many writes are there; an error is what is there instead.
    writes: Result<usize, String>,
    facts: Facts,
    /// What one more process finds.
    again: Result<Facts, String>,
    /// What is found after one more power loss.
    later: Result<Facts, String>,
    /// What becomes of another write.
    going_on: Result<(), String>,
}

/// Recovery opens what a crash left: what was cut short is no damage, and no reason to refuse.
pub(super) fn a_torn_tail_is_not_taken_for_damage(stage: &mut Stage<'_>) -> Verdict {
    each(stage, |landing| landing.opened.as_ref().map(|_| ()).map_err(Clone::clone))
}

/// What there was a receipt for is there.
pub(super) fn what_was_acknowledged_survives(stage: &mut Stage<'_>) -> Verdict {
    each_found(stage, |landing, found| {
        let (there, told) = (found.writes.as_ref().ok(), landing.acknowledged);
        match there.filter(|there| **there < told) {
            None => Ok(()),
            Some(there) => Err(format!("{told} writes were acknowledged, {there} are there")),
        }
    })
}

/// The writes of a batch are there up to one of them, each with all its parts, and none after it.
pub(super) fn a_write_is_whole_or_not_at_all_and_in_order(stage: &mut Stage<'_>) -> Verdict {
    each_found(stage, |_, found| found.writes.clone().map(|_| ()))
}

/// To look at a disk does not change what is on it.
pub(super) fn opening_again_changes_nothing(stage: &mut Stage<'_>) -> Verdict {
    each_found(stage, |_, found| same(found, &found.again, "opened again"))
}

/// What a process died without syncing and the next one found in memory: who restores it has made
/// it durable first.
pub(super) fn what_was_restored_survives_the_next_power_loss(stage: &mut Stage<'_>) -> Verdict {
    each_found(stage, |_, found| same(found, &found.later, "after one more power loss"))
}

/// A recovered storage takes writes, and those survive a power loss too.
pub(super) fn a_recovered_storage_goes_on(stage: &mut Stage<'_>) -> Verdict {
    each_found(stage, |_, found| found.going_on.clone())
}

fn same(found: &Found, other: &Result<Facts, String>, when: &str) -> Result<(), String> {
    match other {
        Ok(facts) if *facts == found.facts => Ok(()),
        Ok(facts) => {
            let (before, after) = (found.facts.describe(), facts.describe());
            Err(format!("found was {before}; {when}: {after}"))
        }
        Err(error) => Err(format!("{when}: {error}")),
    }
}

fn each_found(
    stage: &mut Stage<'_>,
    judge: impl Fn(&Landing, &Found) -> Result<(), String>,
) -> Verdict {
    // What cannot be opened is another law's business.
    each(stage, |landing| landing.opened.as_ref().map_or(Ok(()), |found| judge(landing, found)))
}

fn each(stage: &mut Stage<'_>, judge: impl Fn(&Landing) -> Result<(), String>) -> Verdict {
    for number in 0..=STORIES {
        if stage.landings.len() == number {
            let landings = landings(stage, number as u64)?;
            stage.landings.push(landings);
        }
        for landing in &stage.landings[number] {
            judge(landing).map_err(|how| broken(format_args!("{}: {how}", landing.name)))?;
        }
    }
    Ok(())
}

/// The crashes of a random story, or of the small one, which is the last.
fn landings(stage: &mut Stage<'_>, number: u64) -> Result<Vec<Landing>, Finding> {
    let mut landings = Vec::new();
    if number < STORIES as u64 {
        let past = Past::new(stage, Story::random(number, CALLS), number)?;
        for at in past.moments() {
            let crash = if (at / TICK).is_multiple_of(4) { Crash::Process } else { Crash::Power };
            for bytes in TEARS {
                past.disk.set_tears(bytes);
                let choices = Choices::random(number << 48 | (bytes as u64) << 32 | at);
                let name =
                    format!("story {number}, {crash:?} crash after {at} ns, tears of {bytes}");
                landings.push(past.crash(stage, choices, (at, crash), name));
            }
        }
        return Ok(landings);
    }
    let past = Past::new(stage, Story::small(), number)?;
    past.disk.set_tears(TEAR_BYTES);
    for at in past.moments() {
        let mut next = Some(Choices::exhaustive(DEPTH));
        for way in 0.. {
            let Some(choices) = next.take() else { break };
            let name = format!("the small story, power loss {way} after {at} ns");
            landings.push(past.crash(stage, choices.clone(), (at, Crash::Power), name));
            next = choices.advance();
        }
    }
    Ok(landings)
}

/// A story that was told, on a disk that can be taken back to any moment of it.
struct Past {
    story: Story,
    disk: SimDisk,
    life: Life,
    began: u64,
}

impl Past {
    fn new(stage: &mut Stage<'_>, story: Story, seed: u64) -> Result<Self, Finding> {
        let block_bytes = if seed.is_multiple_of(2) { 512 } else { 4096 };
        let (disk, mut storage) = stage.owned(block_bytes, seed)?;
        disk.begin_job(disk.job_end());
        let began = disk.job_end();
        let life = live(&disk, storage.as_mut(), &story);
        // Before the storage is dropped, which may write.
        let frozen = disk.fork(Choices::replay(&[]));
        match &life.error {
            None => Ok(Self { story, disk: frozen, life, began }),
            Some(error) => Err(broken(format_args!("a story without faults ends with {error}"))),
        }
    }

    /// Before the first call, and after each.
    fn moments(&self) -> impl Iterator<Item = u64> + use<> {
        let ticks = usize::try_from(TICK).expect("small");
        (self.began..=self.disk.job_end()).step_by(ticks)
    }

    /// What comes after a crash at this moment.
    fn crash(
        &self,
        stage: &mut Stage<'_>,
        choices: Choices,
        (at, crash): (u64, Crash),
        name: String,
    ) -> Landing {
        let disk = self.disk.fork(choices);
        disk.crash(at, crash);
        let acknowledged = self.life.acknowledged_at(at);
        let opened = stage.look(&disk).map(|facts| self.look_on(stage, &disk, facts, at));
        Landing { name, acknowledged, opened }
    }

    /// Looks a second time, in two ways, and goes on in the third.
    fn look_on(&self, stage: &mut Stage<'_>, disk: &SimDisk, facts: Facts, seed: u64) -> Found {
        let writes = writes_in(&facts, &self.story);
        let again = stage.look(&disk.fork(Choices::random(seed)));
        let dark = disk.fork(Choices::random(seed));
        dark.crash(dark.job_end(), Crash::Power);
        let later = stage.look(&dark);
        let going_on = writes.clone().and_then(|writes| self.go_on(stage, &dark, writes));
        Found { writes, facts, again, later, going_on }
    }

    /// Tells the rest of the story from this write on, each write in a call of its own.
    fn go_on(&self, stage: &mut Stage<'_>, disk: &SimDisk, writes: usize) -> Result<(), String> {
        let Some(next) = self.story.calls.iter().flatten().nth(writes) else { return Ok(()) };
        let mut storage = stage.open(disk)?;
        let written = storage.persist(&[next.persist()]);
        written.map_err(|error| format!("cannot write on: {error}"))?;
        disk.crash(disk.job_end(), Crash::Power);
        drop(storage);
        let found = writes_in(&stage.look(disk)?, &self.story)?;
        if found > writes {
            Ok(())
        } else {
            Err(format!("write {} was acknowledged after a crash, {found} are there", writes + 1))
        }
    }
}

/// Random stories. A few, as every moment of each is tried.
const STORIES: usize = 4;

/// Calls in a random story.
const CALLS: usize = 10;

/// How many choices of a power loss are tried in every way; those after them are the mildest.
const DEPTH: usize = 4;

/// Blocks are torn at multiples of so many bytes, once in each way at every moment: anywhere, or as
/// a log aligns its parts.
const TEARS: [usize; 2] = [1, 8];

/// The same in the small story: few places, so that all can be tried.
const TEAR_BYTES: usize = 128;
