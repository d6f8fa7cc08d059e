//! The public face: bring a state machine and what clients ask of it, and be told what breaks.
//!
//! Read next: `examples/your_state_machine_in_the_simulator.rs`.

use std::env;
use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use raft_core::StateMachine;

use crate::choice::Choices;
use crate::coverage::Fault;
use crate::html;
use crate::machine::{Examination, Invariant};
use crate::model::Model;
use crate::oracle::Failure;
use crate::report::Report;
use crate::runner::{self, Summary};
use crate::swarm::Fixed;
use crate::trace::{Trace, TraceEvent, What};
use crate::workload::Workload;
use crate::world::regions::NODES;
use crate::world::{Ingredients, Judge, Search, World};

/// Events of a storm unless told otherwise.
pub const EVENTS: u64 = 10_000;

/// Which seeds are run, and what is written about a failing one.
#[derive(Clone, Debug)]
pub struct Config {
    /// The first seed. Default 0.
    pub start: u64,
    /// How many seeds. Default 100: about two seconds on a core.
    pub seeds: u64,
    /// Threads that run them. Default: one for each core.
    pub threads: usize,
    /// Where the picture of a failing seed goes. Default: nowhere.
    pub html: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { start: 0, seeds: 100, threads, html: None }
    }
}

impl Config {
    /// The default, changed by the environment: `RAFT_SIM_SEEDS` (how many), `RAFT_SIM_START` (the
    /// first), `RAFT_SIM_SEED` (this one alone) and `RAFT_SIM_HTML` (where the picture goes).
    ///
    /// # Panics
    ///
    /// If one of the numbers is none: a typing error must not pass for a passing test.
    pub fn from_env() -> Self {
        Self::from_env_or(Self::default().seeds)
    }

    /// So many seeds, and for the rest the default; changed by the environment as by
    /// [`from_env`](Self::from_env). A test says here how long it may take.
    ///
    /// # Panics
    ///
    /// As [`from_env`](Self::from_env).
    pub fn from_env_or(seeds: u64) -> Self {
        let number = |name: &str| {
            let text = env::var(name).ok()?;
            let parsed = text.parse::<u64>();
            Some(parsed.unwrap_or_else(|_| panic!("{name}={text}: a number is expected")))
        };
        let mut config = Self { seeds, ..Self::default() };
        config.seeds = number("RAFT_SIM_SEEDS").unwrap_or(config.seeds);
        config.start = number("RAFT_SIM_START").unwrap_or(config.start);
        if let Some(seed) = number("RAFT_SIM_SEED") {
            (config.start, config.seeds) = (seed, 1);
        }
        config.html = env::var_os("RAFT_SIM_HTML").map(PathBuf::from);
        config
    }
}

/// What is simulated: a state machine, what clients ask, what must hold.
pub struct Plan<M> {
    examination: Examination<M>,
    workload: Arc<dyn Workload>,
    judge: Option<Arc<dyn Judge>>,
    fixed: Fixed,
    events: u64,
}

impl<M> fmt::Debug for Plan<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan").field("fixed", &self.fixed).finish_non_exhaustive()
    }
}

impl<M: StateMachine> Plan<M> {
    /// State machines made by `make`, and what clients ask of them.
    ///
    /// Checked without further words: every safety property of the protocol, durability, answers
    /// that are linearizable in the order of the log (a second machine replays it), snapshots that
    /// restore to the same state over any content, equal states at equal indexes whatever the
    /// batches, and progress once enough nodes are healthy.
    ///
    /// States are compared by [`StateMachine::digest`]. Without one, replicas that went different
    /// ways show as soon as they answer a client differently. A machine that is wrong on every node
    /// alike shows only by an [`invariant`](Self::invariant) or a [`model`](Self::model).
    pub fn new(
        make: impl Fn() -> M + Send + Sync + 'static,
        workload: impl Workload + 'static,
    ) -> Self {
        Self {
            examination: Examination { make: Arc::new(make), invariants: Vec::new() },
            workload: Arc::new(workload),
            judge: None,
            fixed: Fixed::default(),
            events: EVENTS,
        }
    }

    /// Demands that a sentence is true of every machine after every command.
    #[must_use]
    pub fn invariant(
        mut self,
        name: &str,
        holds: impl Fn(&M) -> bool + Send + Sync + 'static,
    ) -> Self {
        let invariant = Invariant { name: name.to_owned(), holds: Arc::new(holds) };
        self.examination.invariants.push(invariant);
        self
    }

    /// Gives a sequential model: histories are judged a second time, by an independent search that
    /// knows nothing of logs.
    #[must_use]
    pub fn model(mut self, model: impl Model + 'static) -> Self {
        self.judge = Some(Arc::new(Search(model)));
        self
    }

    /// So many nodes in every world, instead of one to seven.
    #[must_use]
    pub fn nodes(mut self, nodes: u64) -> Self {
        self.fixed.nodes = nodes;
        self
    }

    /// Five nodes in three regions, with links that are longer in one direction than in the other,
    /// and in half of the worlds two regions that reach only the third. Nothing breaks; one leader
    /// has to be found, to stay and to commit.
    #[must_use]
    pub fn regions(mut self) -> Self {
        let faults = Some(Vec::new());
        let (nodes, without_operator) = (NODES, true);
        self.fixed = Fixed { is_regional: true, nodes, without_operator, faults, ..self.fixed };
        self
    }

    /// So many clients in every world, instead of one to eight.
    #[must_use]
    pub fn clients(mut self, clients: u64) -> Self {
        self.fixed.clients = clients;
        self
    }

    /// Only these kinds of faults, in every world, instead of a mixture drawn from all.
    #[must_use]
    pub fn faults(mut self, faults: &[Fault]) -> Self {
        self.fixed.faults = Some(faults.to_vec());
        self
    }

    /// So many events before everything is healed and the cluster has to come to rest.
    #[must_use]
    pub fn events(mut self, events: u64) -> Self {
        self.events = events;
        self
    }

    fn ingredients(&self) -> Ingredients {
        Ingredients {
            machines: Arc::new(Arc::new(self.examination.clone())),
            workload: Arc::clone(&self.workload),
            judge: self.judge.clone(),
            fixed: self.fixed.clone(),
            events: self.events,
        }
    }
}

/// Runs seeds, each twice, on as many threads as the configuration says. `progress` hears what came
/// of those that are done.
pub fn run<M: StateMachine>(
    config: &Config,
    plan: &Plan<M>,
    progress: &(dyn Fn(&Summary) + Sync),
) -> Summary {
    runner::run_many(&plan.ingredients(), config, progress)
}

/// Runs seeds one after the other, each once, until one fails or `goes_on` says no. The summary
/// holds what was run, and at most one failure: that of the lowest seed.
pub fn hunt<M: StateMachine>(
    config: &Config,
    plan: &Plan<M>,
    goes_on: &(dyn Fn(&Summary) -> bool + Sync),
) -> Summary {
    runner::hunt(&plan.ingredients(), config, goes_on)
}

/// Runs one world by whatever choices: a recording, the bytes of a fuzzer, a sequence of an
/// enumeration. `None` if all oracles are content.
pub fn play<M: StateMachine>(plan: &Plan<M>, choices: &Choices) -> Option<Failure> {
    runner::play(&plan.ingredients(), choices).failure
}

/// Runs a seed once more and tells what happened: a failing one after its choices were shrunk, any
/// other as it is.
pub fn replay<M: StateMachine>(plan: &Plan<M>, seed: u64, command: &str) -> Report {
    runner::report(&plan.ingredients(), seed, &Choices::random(seed), command)
}

/// Runs seeds, each twice, and panics with a story about the first that fails. The summary of those
/// that pass can be shown.
///
/// ```
/// use raft_core::InMemoryStateMachine;
/// use raft_sim::model::MapModel;
/// use raft_sim::{Config, Plan, Registers, check};
///
/// let plan = Plan::new(InMemoryStateMachine::new, Registers::default()).model(MapModel);
/// let summary = check(&Config::from_env_or(3), &plan);
/// assert!(summary.to_string().starts_with("3 seeds pass: "));
/// ```
///
/// # Panics
///
/// If a seed fails. The text says what was expected and what was seen, shows the last events, and
/// how to run this seed alone.
#[track_caller]
pub fn check<M: StateMachine>(config: &Config, plan: &Plan<M>) -> Summary {
    let summary = run(config, plan, &|_| {});
    if let Some(text) = complain(config, plan, &summary) {
        panic!("{text}");
    }
    summary
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failing = self.failures.len();
        match (failing, self.nondeterministic.len()) {
            (0, 0) => write!(f, "{} seeds pass", self.seeds)?,
            (_, 0) => write!(f, "{failing} of {} seeds fail", self.seeds)?,
            (_, two) => {
                write!(f, "of {} seeds {two} go two ways and {failing} fail", self.seeds)?;
            }
        }
        let Self { events, committed, simulated_ns, .. } = self;
        let seconds = simulated_ns / 1_000_000_000;
        write!(f, ": {events} events, {committed} entries committed, {seconds} s of virtual time")
    }
}

/// What is wrong, if anything is.
fn complain<M: StateMachine>(config: &Config, plan: &Plan<M>, summary: &Summary) -> Option<String> {
    let report = if let Some(seed) = summary.nondeterministic.first() {
        two_ways(plan, *seed, summary)
    } else {
        let (seed, _) = summary.failures.first()?;
        replay(plan, *seed, &command(*seed))
    };
    if let Some(path) = &config.html {
        fs::write(path, html::page(&report))
            .unwrap_or_else(|error| panic!("{}: cannot be written: {error}", path.display()));
    }
    Some(format!("{summary}\n\n{report}"))
}

/// How the process at hand runs one seed alone: as it was started, or as a test of this name.
fn command(seed: u64) -> String {
    let command = match std::thread::current().name() {
        Some(name) if name != "main" => format!("cargo test {name}"),
        Some(_) | None => env::args().collect::<Vec<_>>().join(" "),
    };
    format!("RAFT_SIM_SEED={seed} {command}")
}

/// Tells of a seed that went two ways, up to where they part.
fn two_ways<M: StateMachine>(plan: &Plan<M>, seed: u64, summary: &Summary) -> Report {
    let run = || {
        let mut world = World::new(Choices::random(seed), plan.ingredients()).traced();
        runner::run(&mut world);
        (world.trace.take().unwrap_or_default(), world.swarm.describe())
    };
    let ((first, world), (mut second, _)) = (run(), run());
    let (events, others) = (&first.events, &mut second.events);
    let same = events.iter().zip(others.iter()).take_while(|(one, other)| one == other).count();
    let failure = summary.failures.iter().find(|(failing, _)| *failing == seed);
    let end = failure.map(|(_, failure)| format!("; one of them ended with {failure}"));
    let statement = format!(
        "seed {seed} ran twice and went two ways: something in it depends on time, on addresses, \
         on the order of a hash map, or on something outside of the state machine{}",
        end.unwrap_or_default()
    );
    let mut told = others.split_off(others.len().min(same));
    told.truncate(DIFFERENT_TOLD);
    let here = told.first().or_else(|| events.get(same)).or_else(|| events.last());
    let (at, step) = here.map_or((0, 0), |event| (event.at, event.step));
    let part = |text: &str| TraceEvent { at, step, what: What::Part { text: text.to_owned() } };
    let mut trace = Trace { nodes: first.nodes, events: events[..same].to_vec() };
    if events.len() == same && told.is_empty() {
        trace.events.push(part("no event differs, only states do"));
    } else {
        trace.events.push(part("the first time"));
        trace.events.extend(events[same..].iter().take(DIFFERENT_TOLD).cloned());
        trace.events.push(part("the second time"));
        trace.events.extend(told);
    }
    Report {
        seed,
        command: command(seed),
        mutant: None,
        oracle: "determinism".to_owned(),
        statement,
        at,
        step,
        world,
        choices: Vec::new(),
        choices_before: 0,
        trace,
        disks: Vec::new(),
        history: Vec::new(),
        known_bugs: Vec::new(),
    }
}

/// Events told of each of two runs from where they part.
const DIFFERENT_TOLD: usize = 5;
