//! The searches against a checker that has no idea but to try every order of every subset.

use super::*;

/// Whether some order explains the history: one map for all keys, no memory, no cleverness.
fn brute<M: Model>(operations: &[Operation], model: &M) -> bool {
    let takes_part = |operation: &&Operation| match (&operation.end, operation.kind) {
        (End::Answered { .. }, _) | (End::Unknown, Kind::Write) => true,
        (End::NotApplied { .. }, _) | (End::Unknown, Kind::Read) => false,
    };
    let rest: Vec<&Operation> = operations.iter().filter(takes_part).collect();
    can_follow(&rest, model, &model.initial())
}

fn can_follow<M: Model>(rest: &[&Operation], model: &M, state: &M::State) -> bool {
    if rest.iter().all(|operation| operation.end == End::Unknown) {
        return true;
    }
    (0..rest.len()).any(|place| {
        let next = rest[place];
        let is_preceded = rest.iter().any(|other| match other.end {
            End::Answered { returned, .. } => returned < next.invoked,
            End::NotApplied { .. } | End::Unknown => false,
        });
        let mut after = state.clone();
        let said = match next.kind {
            Kind::Write => model.write(&mut after, &next.input),
            Kind::Read => model.read(state, &next.input),
        };
        let is_wrong = matches!(&next.end, End::Answered { answer, .. } if *answer != said);
        let others = [&rest[..place], &rest[place + 1..]].concat();
        !is_preceded && !is_wrong && can_follow(&others, model, &after)
    })
}

/// Appends every command to one text and answers with the text before.
struct Append;

impl Model for Append {
    type State = Vec<u8>;

    fn initial(&self) -> Vec<u8> {
        Vec::new()
    }

    fn write(&self, state: &mut Vec<u8>, command: &[u8]) -> Bytes {
        let before = Bytes::copy_from_slice(state);
        state.extend_from_slice(command);
        before
    }

    fn read(&self, state: &Vec<u8>, _query: &[u8]) -> Bytes {
        Bytes::copy_from_slice(state)
    }
}

/// Adds numbers of one digit and tells nobody but readers: the same sum comes about in many ways.
struct Sum;

impl Model for Sum {
    type State = u8;

    fn initial(&self) -> u8 {
        0
    }

    fn write(&self, state: &mut u8, command: &[u8]) -> Bytes {
        *state += command[0] - b'0';
        Bytes::new()
    }

    fn read(&self, state: &u8, _query: &[u8]) -> Bytes {
        Bytes::copy_from_slice(&[state + b'0'])
    }
}

/// Up to six operations; answers are those of a random order, at times with one forged.
fn tiny<M: Model>(
    rng: &mut Rng,
    model: &M,
    inputs: [&[&'static str]; 2],
    lies: &[&'static str],
) -> History {
    let mut operations: Vec<(u64, u64, Kind, &str)> = (0..=rng.below(6))
        .map(|_| {
            let invoked = rng.below(10) as u64;
            let returned = invoked + rng.below(6) as u64;
            let kind = *rng.pick(&[Kind::Write, Kind::Read]);
            let input = *rng.pick(inputs[usize::from(kind == Kind::Read)]);
            (invoked, returned, kind, input)
        })
        .collect();
    operations.sort_by_key(|operation| operation.0);
    let mut order: Vec<(u64, usize)> = operations
        .iter()
        .enumerate()
        .map(|(number, (invoked, returned, ..))| {
            (invoked + rng.below(1 + usize::try_from(returned - invoked).unwrap()) as u64, number)
        })
        .collect();
    order.sort_unstable();

    let mut history = History::default();
    let node = NodeId::new(1).unwrap();
    for (invoked, _, kind, input) in &operations {
        history.invoke(*invoked, 0, node, *kind, Bytes::from_static(input.as_bytes()));
    }
    let mut state = model.initial();
    let forged = if rng.percent(60) { rng.below(operations.len()) } else { usize::MAX };
    for (_, number) in order {
        let (_, returned, kind, input) = operations[number];
        if rng.percent(8) {
            history.end(number, End::NotApplied { returned });
            continue;
        }
        let outcome = rng.below(100);
        if outcome < 8 {
            continue;
        }
        let mut answer = match kind {
            Kind::Write => model.write(&mut state, input.as_bytes()),
            Kind::Read => model.read(&state, input.as_bytes()),
        };
        if outcome < 25 {
            continue;
        }
        if number == forged {
            answer = Bytes::from_static(rng.pick(lies).as_bytes());
        }
        history.end(number, End::Answered { returned, index: Index::new(9), answer });
    }
    history
}

fn compare<M: Model>(seed: u64, model: &M, inputs: [&[&'static str]; 2], lies: &[&'static str]) {
    let mut rng = Rng(seed);
    let (mut good, mut bad) = (0, 0);
    for _ in 0..4_000 {
        let history = tiny(&mut rng, model, inputs, lies);
        match verdict(&history, model, BUDGET) {
            Verdict::Linearizable => {
                assert!(brute(history.operations(), model), "no order explains {history}");
                good += 1;
            }
            Verdict::NotLinearizable { operations, .. } => {
                assert!(!brute(history.operations(), model), "some order explains {history}");
                let named: Vec<Operation> =
                    operations.iter().map(|number| history.operations()[*number].clone()).collect();
                assert!(!brute(&named, model), "some order explains {operations:?} of {history}");
                bad += 1;
            }
            Verdict::Undecided { .. } => panic!("six operations exceed the budget: {history}"),
        }
    }
    assert!(good > 800 && bad > 800, "{good} good and {bad} bad ones compare little");
}

/// Two keys, few values, so that many orders explain the same answer.
#[test]
fn the_searches_agree_with_brute_force_on_maps() {
    let inputs: [&[&str]; 2] = [&["x\0a", "x\0b", "y\0a", "x"], &["x", "x", "y"]];
    compare(1, &MapModel, inputs, &["", "a", "b"]);
}

/// The same state is reached by drawing on one unknown write or on two others, and it matters.
#[test]
fn the_searches_agree_with_brute_force_on_sums() {
    compare(3, &Sum, [&["1", "2", "3"], &[""]], &["0", "1", "2", "3", "4", "5", "6"]);
}

/// Five is one and four or two and three; what is read next says which.
#[test]
fn all_ways_to_a_state_are_kept() {
    let node = NodeId::new(1).unwrap();
    for writes in [["1", "4", "2", "3"], ["2", "3", "1", "4"]] {
        for (next, is_good) in [("6", true), ("7", true), ("8", true), ("9", true), ("4", false)] {
            let mut history = History::default();
            for write in writes {
                history.invoke(1, 0, node, Kind::Write, write.into());
            }
            for (now, answer) in [(2, "5"), (3, next)] {
                let number = history.invoke(now, 0, node, Kind::Read, Bytes::new());
                let (index, answer) = (Index::new(9), Bytes::from_static(answer.as_bytes()));
                history.end(number, End::Answered { returned: now, index, answer });
            }
            assert_eq!(brute(history.operations(), &Sum), is_good);
            let verdict = verdict(&history, &Sum, BUDGET);
            assert_eq!(verdict == Verdict::Linearizable, is_good, "{verdict:?} about {history}");
        }
    }
}

/// One state for everything, in which the whole order of writes shows.
#[test]
fn the_searches_agree_with_brute_force_on_appends() {
    compare(2, &Append, [&["a", "b"], &[""]], &["", "a", "b", "ab", "ba", "aa"]);
}
