//! Large histories of a cluster that does everything right, but for one planted fault.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// What a planted fault does, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Answers a read from a state that an answered write has left behind.
    StaleRead,
    /// Answers a write that never takes effect.
    LostWrite,
    /// Lets a write take effect again after an answered one has replaced it.
    AppliedTwice,
    /// Lets a write take effect after an error that claims it will not.
    AppliedAfterAll,
    /// Answers a read with the value of a write that nobody has asked for yet.
    ReadFromTheFuture,
    /// Answers a write as if nothing had been written before.
    OldAnswer,
    /// Answers a read with the value of another key.
    OtherKey,
}

const FAULTS: [Fault; 7] = [
    Fault::StaleRead,
    Fault::LostWrite,
    Fault::AppliedTwice,
    Fault::AppliedAfterAll,
    Fault::ReadFromTheFuture,
    Fault::OldAnswer,
    Fault::OtherKey,
];

enum Open {
    /// Invoked; nothing happened yet.
    Asked(usize),
    /// It took effect, or has its answer for another reason.
    Done(usize, Index, Bytes),
}

/// A cluster seen from outside: clients, keys and what was applied.
struct Cluster {
    rng: Rng,
    run: Run,
    now: u64,
    clients: Vec<Option<Open>>,
    /// Writes that their clients gave up and that still are to take effect.
    strays: Vec<usize>,
    given_up: BTreeSet<usize>,
    /// Per key, the values so far and the writes that made them.
    values: BTreeMap<&'static str, Vec<(Bytes, usize)>>,
    /// When each operation was answered.
    answered: BTreeMap<usize, u64>,
    fault: Option<Fault>,
    writes: u64,
}

const KEYS: [&str; 3] = ["x", "y", "z"];

impl Cluster {
    fn new(seed: u64, clients: usize, fault: Option<Fault>) -> Self {
        Self {
            rng: Rng(seed),
            run: Run::default(),
            now: 0,
            clients: (0..clients).map(|_| None).collect(),
            strays: Vec::new(),
            given_up: BTreeSet::new(),
            values: BTreeMap::new(),
            answered: BTreeMap::new(),
            fault,
            writes: 0,
        }
    }

    /// Runs for this many events, lets everything end and reads every key. Says too whether the
    /// fault was planted.
    fn play(mut self, events: u64) -> (Run, bool) {
        for _ in 0..events {
            let client = self.rng.below(self.clients.len());
            self.step(client, true);
        }
        for client in 0..self.clients.len() {
            while self.clients[client].is_some() {
                self.step(client, false);
            }
        }
        let is_planted = self.fault.take().is_none();
        for key in KEYS {
            self.probe(key);
        }
        (self.run, is_planted)
    }

    /// Reads a key at once, so that what is wrong with it shows before it is written over.
    fn probe(&mut self, key: &'static str) {
        self.now += 1;
        let number = self.run.invoke(self.now, 99, Kind::Read, key);
        self.finish(number, self.run.last(), self.value(key));
    }

    fn step(&mut self, client: usize, may_fail: bool) {
        self.now += 1;
        if self.rng.percent(5) {
            self.run.append(None);
        }
        if self.rng.percent(10)
            && let Some(stray) = self.strays.pop()
        {
            self.take_effect(stray);
        }
        let open = match self.clients[client].take() {
            None => Some(Open::Asked(self.ask(client))),
            Some(Open::Asked(number)) if may_fail && self.rng.percent(12) => {
                self.give_up(number);
                None
            }
            Some(Open::Asked(number)) => self.take_effect(number),
            Some(Open::Done(number, index, answer)) => {
                self.finish(number, index, answer);
                None
            }
        };
        self.clients[client] = open;
    }

    fn ask(&mut self, client: usize) -> usize {
        let key = *self.rng.pick(&KEYS);
        let client = u32::try_from(client).unwrap();
        if self.rng.percent(50) {
            return self.run.invoke(self.now, client, Kind::Read, key);
        }
        self.writes += 1;
        let command = format!("{key}\0v{}", self.writes);
        self.run.invoke(self.now, client, Kind::Write, command)
    }

    fn give_up(&mut self, number: usize) {
        self.given_up.insert(number);
        let kind = self.run.history.operations()[number].kind;
        if self.rng.percent(50) {
            self.run.history.end(number, End::NotApplied { returned: self.now });
            if kind == Kind::Write && self.plant(Fault::AppliedAfterAll) {
                self.take_effect(number);
                self.probe(self.key(number));
            }
        } else if kind == Kind::Write && self.rng.percent(60) {
            self.strays.push(number);
        }
    }

    fn finish(&mut self, number: usize, index: Index, answer: Bytes) {
        self.now += 1;
        self.answered.insert(number, self.now);
        self.run.history.end(number, End::Answered { returned: self.now, index, answer });
    }

    /// Whether the fault is to be planted here. It is planted once.
    fn plant(&mut self, fault: Fault) -> bool {
        let plants = self.fault == Some(fault);
        if plants {
            self.fault = None;
        }
        plants
    }

    /// The key, as one of the constants.
    fn key(&self, number: usize) -> &'static str {
        let input = &self.run.history.operations()[number].input;
        KEYS.into_iter().find(|key| input[0] == key.as_bytes()[0]).unwrap()
    }

    fn value(&self, key: &str) -> Bytes {
        self.values.get(key).and_then(|values| values.last()).cloned().unwrap_or_default().0
    }

    /// Whether the write that made the present value was answered before this was invoked.
    fn is_settled(&self, key: &str, invoked: u64) -> bool {
        let write = self.values.get(key).and_then(|values| values.last());
        write
            .and_then(|(_, write)| self.answered.get(write))
            .is_some_and(|returned| *returned < invoked)
    }

    /// Returns what is left to be done.
    fn take_effect(&mut self, number: usize) -> Option<Open> {
        let Operation { kind, input, invoked, .. } = self.run.history.operations()[number].clone();
        let key = self.key(number);
        match kind {
            Kind::Read => self.answer_read(number, key, invoked),
            Kind::Write => {
                let (is_settled, value) = (self.is_settled(key, invoked), input.slice(2..));
                self.answer_write(number, key, value, is_settled)
            }
        }
    }

    fn answer_read(&mut self, number: usize, key: &'static str, invoked: u64) -> Option<Open> {
        let index = self.run.last();
        let other = self.value(KEYS.into_iter().find(|other| *other != key)?);
        let values = self.values.get(key).cloned().unwrap_or_default();
        if values.len() > 1 && self.is_settled(key, invoked) && self.plant(Fault::StaleRead) {
            return Some(Open::Done(number, index, values[values.len() - 2].0.clone()));
        }
        if !other.is_empty() && self.plant(Fault::OtherKey) {
            return Some(Open::Done(number, index, other));
        }
        if values.len() > 1 && self.plant(Fault::ReadFromTheFuture) {
            self.finish(number, index, format!("v{}", self.writes + 1).into());
            return None;
        }
        Some(Open::Done(number, index, self.value(key)))
    }

    fn answer_write(
        &mut self,
        number: usize,
        key: &'static str,
        value: Bytes,
        is_settled: bool,
    ) -> Option<Open> {
        let before = self.value(key);
        let is_open = !self.given_up.contains(&number);
        if is_open && is_settled && self.plant(Fault::LostWrite) {
            self.finish(number, self.run.last(), before);
            self.probe(key);
            return None;
        }
        let values = self.values.entry(key).or_default();
        values.push((value, number));
        let values = values.clone();
        let index = self.run.append(Some(number));
        if is_open && is_settled && self.plant(Fault::OldAnswer) {
            return Some(Open::Done(number, index, Bytes::new()));
        }
        if let [.., (twice, first), (_, second), _] = &values[..]
            && self.answered.contains_key(second)
            && self.plant(Fault::AppliedTwice)
        {
            self.run.append(Some(*first));
            self.values.entry(key).or_default().push((twice.clone(), *first));
            self.probe(key);
        }
        Some(Open::Done(number, index, before))
    }
}

/// A cluster without faults is accepted by both, whatever overlaps, fails or is never answered.
#[test]
fn good_histories_are_accepted() {
    for seed in 0..60 {
        let (run, _) = Cluster::new(seed, 2 + usize::try_from(seed % 6).unwrap(), None).play(300);
        run.assert_good();
    }
}

/// A cluster with one fault is refuted by both, whichever it is.
#[test]
fn every_planted_fault_is_refuted() {
    for fault in FAULTS {
        let mut planted = 0;
        for seed in 0..12 {
            let (run, is_planted) = Cluster::new(seed, 4, Some(fault)).play(300);
            if is_planted {
                planted += 1;
                run.assert_bad();
            } else {
                run.assert_good();
            }
        }
        assert!(planted >= 8, "{fault:?} was planted only {planted} times");
    }
}

/// What the witness accepts, an order explains; so a forged answer may not pass the witness alone.
#[test]
fn what_the_witness_accepts_the_searches_accept() {
    let (mut accepted, mut refuted) = (0, 0);
    for seed in 0..150 {
        let (run, _) = Cluster::new(seed, 4, None).play(80);
        let mut rng = Rng(seed);
        let mut forged = Run { log: run.log.clone(), history: History::default() };
        let victim = rng.below(run.history.operations().len());
        for (number, operation) in run.history.operations().iter().enumerate() {
            let Operation { client, node, kind, input, invoked, mut end } = operation.clone();
            forged.history.invoke(invoked, client, node, kind, input);
            if let End::Answered { returned, index, answer } = &mut end
                && number == victim
            {
                match rng.below(4) {
                    0 => *returned = returned.saturating_sub(rng.below(20) as u64).max(invoked),
                    1 => *index = Index::new(rng.below(run.log.len()) as u64),
                    2 => *answer = format!("v{}", rng.below(20)).into(),
                    _ => end = End::Unknown,
                }
            }
            if end != End::Unknown {
                forged.history.end(number, end);
            }
        }
        if forged.witness().is_ok() {
            assert_eq!(forged.verdict(), Verdict::Linearizable, "{}", forged.history);
            accepted += 1;
        } else if forged.verdict() != Verdict::Linearizable {
            refuted += 1;
        }
    }
    assert!(accepted > 30 && refuted > 20, "{accepted} accepted, {refuted} refuted");
}

/// Windows need no more memory for a long history than for a short one; the search does.
#[test]
fn windows_check_a_long_history_in_little_memory() {
    let (run, _) = Cluster::new(7, 4, None).play(6_000);
    assert_eq!(windows(&run.history, &MapModel, 100), Verdict::Linearizable);
    let operations = run.history.operations();
    let verdict = search(operations, &MapModel, &[MapModel.initial()], 100);
    assert_eq!(verdict, Verdict::Undecided { key: "x".into() });
    let verdict = search(operations, &MapModel, &[MapModel.initial()], BUDGET);
    assert_eq!(verdict, Verdict::Linearizable);
}

/// Forty unknown writes have 2^40 subsets, but few that matter: both verdicts are quick.
#[test]
fn many_unknown_writes_are_no_trouble() {
    let mut run = Run::default();
    for write in 0..40 {
        run.invoke(1, 0, Kind::Write, format!("x\0u{write}"));
    }
    let read = |run: &mut Run, now, answer: &'static str| {
        let number = run.invoke(now, 0, Kind::Read, "x");
        let answer = answer.into();
        run.history.end(number, End::Answered { returned: now, index: Index::ZERO, answer });
    };
    for (now, answer) in [(2, ""), (3, "u7"), (4, "u3"), (5, "u39")] {
        read(&mut run, now, answer);
        assert_eq!(run.verdict(), Verdict::Linearizable);
    }
    read(&mut run, 6, "u7");
    assert!(matches!(run.verdict(), Verdict::NotLinearizable { .. }));
}

/// Eleven writes at once have 40 million orders, but few situations: each is examined once.
#[test]
fn no_situation_is_examined_twice() {
    let mut run = Run::default();
    for write in 0..11 {
        let number = run.invoke(1, 0, Kind::Write, "x\0a");
        let answer = Bytes::from_static(if write == 0 { b"" } else { b"a" });
        run.history.end(number, End::Answered { returned: 2, index: Index::ZERO, answer });
    }
    assert_eq!(run.verdict(), Verdict::Linearizable);
    let number = run.invoke(3, 0, Kind::Read, "x");
    let answer = "z".into();
    run.history.end(number, End::Answered { returned: 4, index: Index::ZERO, answer });
    let operations = (0..12).collect();
    assert_eq!(run.verdict(), Verdict::NotLinearizable { key: "x".into(), operations });
}

/// A budget that runs out is no pass and no failure; but what is proved about another key is said.
#[test]
fn a_spent_budget_is_undecided_and_a_proof_outweighs_it() {
    let mut run = Run::default();
    for write in 0..12 {
        let number = run.invoke(1, 0, Kind::Write, format!("x\0{write}"));
        let end = End::Answered { returned: 9, index: Index::ZERO, answer: "nowhere".into() };
        if write > 9 {
            run.history.end(number, end);
        }
    }
    assert_eq!(verdict(&run.history, &MapModel, 5), Verdict::Undecided { key: "x".into() });
    let refuted = |key: &'static str, operations| Verdict::NotLinearizable {
        key: Bytes::from_static(key.as_bytes()),
        operations,
    };
    assert_eq!(run.verdict(), refuted("x", (0..12).collect()));

    let number = run.invoke(2, 0, Kind::Read, "y");
    let end = End::Answered { returned: 3, index: Index::ZERO, answer: "nowhere".into() };
    run.history.end(number, end);
    assert_eq!(verdict(&run.history, &MapModel, 5), refuted("y", vec![12]));
}
