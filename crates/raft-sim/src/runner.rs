//! Runs worlds: one seed, or many on several threads, each twice.
//!
//! Read next: `check.rs`, the public face.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, Once, PoisonError};

use raft_core::mutants::{Mutant, REGISTRY};

use crate::check::Config;
use crate::choice::{Choice, Choices};
use crate::coverage::Coverage;
use crate::oracle::Failure;
use crate::report::Report;
use crate::shrink::{lower, shrink, smaller};
use crate::world::{Ingredients, Outcome, World};

/// What one run came to.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) failure: Option<Failure>,
    /// Events.
    pub(crate) events: u64,
    /// Virtual time, in nanoseconds.
    pub(crate) simulated_ns: u64,
    /// Two numbers that depend on everything that happened.
    pub(crate) hash: [u64; 2],
    pub(crate) coverage: Coverage,
    /// Entries committed, and operations clients began.
    pub(crate) committed: usize,
    pub(crate) operations: usize,
}

thread_local! {
    /// What the guest said when it panicked inside a world of this thread.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
    static IS_SIMULATING: RefCell<bool> = const { RefCell::new(false) };
}

static HOOK: Once = Once::new();

/// A panic of the guest is a finding, told in the report and not on the terminal.
fn listen_to_panics() {
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !IS_SIMULATING.with_borrow(|is| *is) {
                return before(info);
            }
            let text = info.payload_as_str().unwrap_or("a panic without words");
            let place = info
                .location()
                .map_or_else(String::new, |at| format!(" ({}:{})", at.file(), at.line()));
            PANIC.with_borrow_mut(|panic| *panic = Some(format!("{text}{place}")));
        }));
    });
}

/// Runs a world to its end. A panic of the guest ends it too.
pub(crate) fn run(world: &mut World) -> Run {
    listen_to_panics();
    IS_SIMULATING.with_borrow_mut(|is| *is = true);
    let outcome = catch_unwind(AssertUnwindSafe(|| world.run()));
    IS_SIMULATING.with_borrow_mut(|is| *is = false);
    let outcome = outcome.unwrap_or_else(|_| {
        let text = PANIC.with_borrow_mut(Option::take).unwrap_or_default();
        Outcome { failure: Some(Failure::new("panic", text)), hash: [world.step, world.now] }
    });
    let Outcome { failure, hash } = outcome;
    let coverage = world.coverage.clone();
    let committed = world.oracle.committed();
    let operations = world.history.operations().len();
    let (events, simulated_ns) = (world.step, world.now);
    Run { failure, events, simulated_ns, hash, coverage, committed, operations }
}

/// Runs a world by these choices.
pub(crate) fn play(ingredients: &Ingredients, choices: &Choices) -> Run {
    run(&mut World::new(choices.clone(), ingredients.clone()))
}

/// Runs a seed.
pub(crate) fn run_seed(ingredients: &Ingredients, seed: u64) -> Run {
    play(ingredients, &Choices::random(seed))
}

/// What many runs came to. Events and time count each seed once.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// How many seeds were run.
    pub seeds: u64,
    /// Failing seeds, ascending.
    pub failures: Vec<(u64, Failure)>,
    /// Seeds that went two ways.
    pub nondeterministic: Vec<u64>,
    /// Events of all runs.
    pub events: u64,
    /// Events of the shortest run.
    pub events_min: u64,
    /// Virtual time, in nanoseconds.
    pub simulated_ns: u64,
    /// Entries committed.
    pub committed: u64,
    /// Operations clients began.
    pub operations: u64,
    /// Which fault was met in which phase.
    pub coverage: Coverage,
}

impl Summary {
    fn add(&mut self, seed: u64, first: Run, second: Option<&Run>) {
        let shortest = if self.seeds == 0 { u64::MAX } else { self.events_min };
        self.seeds += 1;
        self.events += first.events;
        self.events_min = shortest.min(first.events);
        self.simulated_ns += first.simulated_ns;
        self.coverage.add(&first.coverage);
        self.committed += first.committed as u64;
        self.operations += first.operations as u64;
        if second.is_some_and(|second| second.hash != first.hash) {
            self.nondeterministic.push(seed);
        }
        self.failures.extend(first.failure.map(|failure| (seed, failure)));
    }
}

/// Runs seeds on several threads, each seed twice. `progress` hears how many are done.
pub(crate) fn run_many(
    ingredients: &Ingredients,
    config: &Config,
    progress: &(dyn Fn(&Summary) + Sync),
) -> Summary {
    each_seed(
        config,
        |seed| {
            let first = run_seed(ingredients, seed);
            (first, Some(run_seed(ingredients, seed)))
        },
        &|summary| {
            progress(summary);
            true
        },
    )
}

/// Runs seeds once, until one fails or `goes_on` says no.
pub(crate) fn hunt(
    ingredients: &Ingredients,
    config: &Config,
    goes_on: &(dyn Fn(&Summary) -> bool + Sync),
) -> Summary {
    let mut summary = each_seed(config, |seed| (run_seed(ingredients, seed), None), &|summary| {
        summary.failures.is_empty() && goes_on(summary)
    });
    summary.failures.truncate(1);
    summary
}

/// Runs seeds on several threads, in order, until they are used up or `goes_on` says no. Runs that
/// began before that are finished and counted.
fn each_seed(
    config: &Config,
    run: impl Fn(u64) -> (Run, Option<Run>) + Sync,
    goes_on: &(dyn Fn(&Summary) -> bool + Sync),
) -> Summary {
    let (next, stopped) = (AtomicU64::new(0), AtomicBool::new(false));
    let summary = Mutex::new(Summary::default());
    std::thread::scope(|scope| {
        for _ in 0..config.threads.max(1) {
            scope.spawn(|| {
                while !stopped.load(Ordering::Acquire) {
                    let number = next.fetch_add(1, Ordering::AcqRel);
                    if number >= config.seeds {
                        return;
                    }
                    let seed = config.start.wrapping_add(number);
                    let (first, second) = run(seed);
                    let mut summary = summary.lock().unwrap_or_else(PoisonError::into_inner);
                    summary.add(seed, first, second.as_ref());
                    if !goes_on(&summary) {
                        stopped.store(true, Ordering::Release);
                    }
                }
            });
        }
    });
    let mut summary = summary.into_inner().unwrap_or_else(PoisonError::into_inner);
    summary.failures.sort_by_key(|(seed, _)| *seed);
    summary.nondeterministic.sort_unstable();
    summary
}

/// Runs of a failing world that shrinking may take.
const SHRINK_RUNS: usize = 400;

/// Runs that making values milder may take.
const LOWER_RUNS: usize = 200;

/// Tells what a run did. The choices of a failing one are shrunk first.
pub(crate) fn report(
    ingredients: &Ingredients,
    seed: u64,
    choices: &Choices,
    command: &str,
) -> Report {
    let mut world = World::new(choices.clone().recording(), ingredients.clone());
    let first = run(&mut world);
    let recorded = choices.recorded();
    let before = recorded.len();
    let shrunk = match &first.failure {
        Some(failure) => shrink_run(ingredients, recorded, failure),
        None => recorded,
    };
    let mut world = World::new(Choices::replay(&shrunk), ingredients.clone()).traced();
    let last = run(&mut world);
    let failed = first.failure.is_some();
    let (oracle, statement) = match last.failure.or(first.failure) {
        Some(failure) => (failure.oracle.to_owned(), failure.statement),
        None => (Report::PASSED.to_owned(), "every oracle is content".to_owned()),
    };
    Report {
        seed,
        command: command.to_owned(),
        mutant: None,
        known_bugs: relatives(&oracle),
        oracle,
        statement,
        at: last.simulated_ns,
        step: last.events,
        world: world.swarm.describe(),
        // Of a run that passed nobody wants to know ten thousand of them.
        choices: shrunk.iter().filter(|_| failed).map(ToString::to_string).collect(),
        choices_before: before,
        trace: world.trace.take().unwrap_or_default(),
        disks: world.disks(),
        history: world.last_operations(),
    }
}

/// Known bugs that break the same property.
fn relatives(oracle: &str) -> Vec<String> {
    let property = match oracle {
        "election safety" => "ES",
        "log matching" => "LM",
        "leader completeness" | "vote rule (§5.4.1)" => "LC",
        "state machine safety" | "equal states" | "snapshots" | "state machine" | "invariant" => {
            "SMS"
        }
        "identity" => "ID",
        "bounds" => "RES",
        "commit index" | "commit rule (§5.4.2)" | "order of marks" => "CI",
        "promises" => "MT",
        "durable quorum" | "match index" | "violation" | "membership" => "QC",
        "durability" | "disk" | "damage" => "DUR",
        "recovery" | "panic" => "REC",
        "linearizability" | "linearizability (search)" | "read index" | "outcomes" => "LIN",
        "exactly once" => "EO",
        "liveness"
        | "progress"
        | "patience (§5.2)"
        | "impatience (§5.2)"
        | "leadership"
        | "stickiness (thesis §4.2.3)"
        | "pre-vote (thesis §9.6)"
        | "answers" => "LIVE",
        _ => return Vec::new(),
    };
    let breaks = |mutant: &&Mutant| mutant.property.split(' ').any(|code| code == property);
    let relatives = REGISTRY.iter().filter(breaks);
    relatives.map(|mutant| format!("{}: {}", mutant.id, mutant.bug)).collect()
}

/// The smallest list of choices found that fails in the same way.
fn shrink_run(ingredients: &Ingredients, recorded: Vec<Choice>, failure: &Failure) -> Vec<Choice> {
    let fails = |choices: &[Choice]| {
        let again = run(&mut World::new(Choices::replay(choices), ingredients.clone()));
        again.failure.is_some_and(|again| again.oracle == failure.oracle)
    };
    if !fails(&recorded) {
        return recorded;
    }
    let kept = shrink(recorded, |choice| choice.site, SHRINK_RUNS, fails);
    let milder = |choice: &Choice| {
        let values = smaller(choice.value).into_iter().filter(|value| *value > 0);
        values.map(|value| Choice { value, ..*choice }).collect()
    };
    lower(kept, milder, LOWER_RUNS, fails)
}
