//! One small history per kind of violation, and its innocent twin where there is one.
//!
//! A line is an operation: `write x=a 1-2 = - @1` was invoked at 1 and answered at 2 with nothing
//! before, applied at index 1; `?` ends with an unknown outcome, `not` with a claim that nothing
//! happened. The last line lists which operation each entry of the log executes, `-` for none.

use super::*;

fn run(text: &str) -> Run {
    let mut run = Run::default();
    let mut ends = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let mut words = line.split_whitespace();
        let kind = match words.next().unwrap() {
            "write" => Kind::Write,
            "read" => Kind::Read,
            "log" => {
                ends.drain(..).for_each(|(number, end)| run.history.end(number, end));
                for word in words {
                    run.append(word.parse().ok());
                }
                return run;
            }
            other => panic!("{other} is no operation"),
        };
        let input = words.next().unwrap().replace('=', "\0");
        let (invoked, returned) = words.next().unwrap().split_once('-').unwrap();
        let number = run.invoke(invoked.parse().unwrap(), 0, kind, input);
        let returned = || returned.parse().unwrap();
        match words.next() {
            Some("=") => {
                let answer = words.next().unwrap().replace('-', "").into();
                let index = words.next().unwrap().strip_prefix('@').unwrap().parse().unwrap();
                let index = Index::new(index);
                ends.push((number, End::Answered { returned: returned(), index, answer }));
            }
            Some("not") => ends.push((number, End::NotApplied { returned: returned() })),
            None => {}
            Some(other) => panic!("{other} is no end"),
        }
    }
    panic!("a story ends with a log");
}

/// The witness says this, and the searches find no order.
fn assert_refuted(text: &str, why: &str) {
    let run = run(text);
    run.assert_bad();
    assert_eq!(run.witness().unwrap_err(), why);
}

/// The witness says this; clients cannot see that anything is wrong.
fn assert_refuted_by_the_log_alone(text: &str, why: &str) {
    let run = run(text);
    assert_eq!(run.witness().unwrap_err(), why);
    assert_eq!(run.verdict(), Verdict::Linearizable);
}

/// Reads and writes that overlap may take effect in any order, also in that of the log.
#[test]
fn overlapping_operations_take_effect_in_either_order() {
    run("write x=a 1-9 = - @1
         write x=b 2-8 = a @3
         read x 3-4 = - @0
         read x 3-5 = a @2
         read x 5-6 = b @3
         log 0 - 1")
    .assert_good();
}

/// A write whose outcome nobody knows may show late, or never, or be the reason of an answer.
#[test]
fn an_unknown_write_may_show_late_or_never() {
    run("write x=a 1-?
         write x=b 2-3 = - @1
         read x 4-5 = b @1
         read x 6-7 = a @2
         write y=c 8-?
         read y 9-9 = - @2
         read y 9-?
         log 1 0")
    .assert_good();
}

/// What claims to be not applied, and is not, disturbs nobody.
#[test]
fn what_was_not_applied_disturbs_nobody() {
    run("write x=a 1-2 not
         read x 3-4 = - @0
         read x 3-5 not
         log -")
    .assert_good();
}

/// A read must see a write that was answered before it was asked.
#[test]
fn a_stale_read_is_refuted() {
    assert_refuted(
        "write x=a 1-2 = - @1
         write x=b 3-4 = a @2
         read x 5-6 = a @1
         log 0 1",
        "#1 (client 0 → n1 write \"x\\x00b\" [3, 4] = \"a\" at 2) returned before #2 \
         (client 0 → n1 \
         read \"x\" [5, 6] = \"a\" at 1) was invoked, but the log has them the other way round.",
    );
}

/// A write that was answered and is in no log was lost.
#[test]
fn a_lost_write_is_refuted() {
    assert_refuted(
        "write x=a 1-2 = - @1
         read x 3-4 = - @1
         log -",
        "#0 (client 0 → n1 write \"x\\x00a\" [1, 2] = \"\" at 1) claims index 1, but was never \
         executed; entry 1 executes no operation.",
    );
}

/// A write that was answered beyond the end of the log was lost.
#[test]
fn a_write_beyond_the_log_is_refuted() {
    assert_refuted(
        "write x=a 1-2 = - @1
         write x=b 3-4 = a @2
         read x 5-6 = a @1
         log 0",
        "#1 (client 0 → n1 write \"x\\x00b\" [3, 4] = \"a\" at 2) claims index 2, but was never \
         executed; the log ends at 1.",
    );
}

/// A write is executed at most once, whether its client knows of it or not.
#[test]
fn a_write_executed_twice_is_refuted() {
    assert_refuted(
        "write x=a 1-2 = - @1
         write x=b 3-4 = a @2
         read x 5-6 = a @3
         log 0 1 0",
        "#0 (client 0 → n1 write \"x\\x00a\" [1, 2] = \"\" at 1) was executed twice, at 1 \
         and at 3.",
    );
    assert_refuted(
        "write x=a 1-?
         write x=b 3-4 = a @2
         read x 5-6 = a @3
         log 0 1 0",
        "#0 (client 0 → n1 write \"x\\x00a\" [1, ∞) unknown) was executed twice, at 1 and at 3.",
    );
}

/// Who gets the answer of another operation gets a wrong one.
#[test]
fn an_answer_of_another_operation_is_refuted() {
    assert_refuted(
        "write x=a 1-2 = - @1
         write x=b 3-4 = - @2
         log 0 1",
        "#1 (client 0 → n1 write \"x\\x00b\" [3, 4] = \"\" at 2) is answered \"a\" by the replay.",
    );
    assert_refuted(
        "write x=a 1-2 = - @1
         write y=b 3-4 = - @2
         read x 5-6 = b @2
         log 0 1",
        "#2 (client 0 → n1 read \"x\" [5, 6] = \"b\" at 2) is answered \"a\" by the replay.",
    );
}

/// Nobody reads what was never written.
#[test]
fn a_value_out_of_nowhere_is_refuted() {
    assert_refuted(
        "write x=a 1-2 = - @1
         read x 3-4 = z @1
         log 0",
        "#1 (client 0 → n1 read \"x\" [3, 4] = \"z\" at 1) is answered \"a\" by the replay.",
    );
}

/// Nobody reads what is written only later.
#[test]
fn a_read_from_the_future_is_refuted() {
    assert_refuted(
        "read x 1-2 = a @1
         write x=a 3-4 = - @1
         log 1",
        "#0 (client 0 → n1 read \"x\" [1, 2] = \"a\" at 1) returned before #1 (client 0 → n1 write \
         \"x\\x00a\" [3, 4] = \"\" at 1) was invoked, but the log has them the other way round.",
    );
    // Nor from a write of which nobody knows what became.
    assert_refuted(
        "read x 1-2 = a @1
         write x=a 3-?
         log 1",
        "#0 (client 0 → n1 read \"x\" [1, 2] = \"a\" at 1) returned before #1 (client 0 → n1 write \
         \"x\\x00a\" [3, ∞) unknown) was invoked, but the log has them the other way round.",
    );
}

/// Once a read saw a write, later reads see it too, even while the write is open.
#[test]
fn two_reads_in_the_wrong_order_are_refuted() {
    let why = "#1 (client 0 → n1 read \"x\" [2, 3] = \"a\" at 1) returned before #2 (client 0 → n1 \
               read \"x\" [4, 5] = \"\" at 0) was invoked, but the log has them the other \
               way round.";
    assert_refuted("write x=a 1-9 = - @1\nread x 2-3 = a @1\nread x 4-5 = - @0\nlog 0", why);
    assert_refuted("write x=a 1-?\nread x 2-3 = a @1\nread x 4-5 = - @0\nlog 0", why);
    // Reads that overlap may see it in either order.
    run("write x=a 1-9 = - @1\nread x 2-4 = a @1\nread x 4-5 = - @0\nlog 0").assert_good();
}

/// Writes one after the other stand in the log one after the other.
#[test]
fn two_writes_in_the_wrong_order_are_refuted() {
    assert_refuted(
        "write x=a 1-2 = b @2
         write x=b 3-4 = - @1
         log 1 0",
        "#0 (client 0 → n1 write \"x\\x00a\" [1, 2] = \"b\" at 2) returned before #1 \
         (client 0 → n1 \
         write \"x\\x00b\" [3, 4] = \"\" at 1) was invoked, but the log has them the other \
         way round.",
    );
}

/// An error that claims nothing happened is believed, and so refuted if something did.
#[test]
fn a_write_that_claims_to_be_not_applied_and_shows_up_is_refuted() {
    assert_refuted(
        "write x=a 1-2 not
         read x 3-4 = a @1
         log 0",
        "#0 (client 0 → n1 write \"x\\x00a\" [1, 2] not applied) claims to be not applied, \
         but entry \
         1@1 executes it.",
    );
}

/// Two leaders that both take a write after the same state cannot both be right.
#[test]
fn two_writes_after_the_same_state_are_refuted() {
    assert_refuted(
        "write x=a 1-2 = - @1
         write x=b 3-6 = a @2
         write x=c 4-5 = a @3
         log 0 1 2",
        "#2 (client 0 → n1 write \"x\\x00c\" [4, 5] = \"a\" at 3) is answered \"b\" by the replay.",
    );
}

/// An answered write that vanishes again, together with what was written over it.
#[test]
fn a_write_that_vanishes_later_is_refuted() {
    assert_refuted(
        "write x=a 1-2 = - @1
         write x=b 3-4 = a @2
         read x 5-6 = b @2
         write x=c 7-8 = a @3
         log 0 1 3",
        "#3 (client 0 → n1 write \"x\\x00c\" [7, 8] = \"a\" at 3) is answered \"b\" by the replay.",
    );
}

/// An unknown write takes effect once: it does not come back over a later one.
#[test]
fn an_unknown_write_that_comes_back_is_refuted() {
    assert_refuted(
        "write x=a 1-?
         read x 2-3 = a @1
         write x=b 4-5 = a @2
         read x 6-7 = a @2
         log 0 2",
        "#3 (client 0 → n1 read \"x\" [6, 7] = \"a\" at 2) is answered \"b\" by the replay.",
    );
}

/// What clients cannot see, the log still shows.
#[test]
fn what_only_the_log_shows_is_refuted_by_the_witness() {
    let write = "#0 (client 0 → n1 write \"x\\x00a\" [1, 2] = \"\" at 1)";
    assert_refuted_by_the_log_alone(
        "write x=a 1-2 = - @1\nread x 3-4 = a @9\nlog 0",
        "#1 (client 0 → n1 read \"x\" [3, 4] = \"a\" at 9) claims index 9, but the log ends at 1.",
    );
    assert_refuted_by_the_log_alone(
        "write x=a 1-2 = - @1\nlog - 0",
        &format!("{write} claims index 1, but was executed at 2; entry 1 executes no operation."),
    );
    assert_refuted_by_the_log_alone(
        "write x=a 1-2 = - @1\nwrite y=b 1-2 = - @2\nlog 1 0",
        &format!(
            "{write} claims index 1, but was executed at 2; entry 1 executes #1 (client 0 → n1 \
             write \"y\\x00b\" [1, 2] = \"\" at 2)."
        ),
    );
    assert_refuted_by_the_log_alone(
        "write x=a 1-2 = - @1\nread x 3-4 = a @1\nlog 0 0",
        &format!("{write} was executed twice, at 1 and at 2."),
    );
    assert_refuted_by_the_log_alone(
        "write x=a 1-2 = - @1\nlog 0 7",
        "Entry 2@1 executes #7, which was never invoked.",
    );
    assert_refuted_by_the_log_alone(
        "write x=a 1-2 = - @1\nread x 3-4 = a @1\nlog 0 1",
        "#1 (client 0 → n1 read \"x\" [3, 4] = \"a\" at 1) is a read, but entry 2@1 executes it.",
    );
}

/// A log with a gap, a changed command or a state machine that halts is no witness.
#[test]
fn a_log_that_cannot_be_replayed_is_no_witness() {
    let good = run("write x=a 1-2 = - @1\nlog 0 -");
    let mut gap = good.clone();
    gap.log.remove(0);
    assert_eq!(gap.witness().unwrap_err(), "The log has entry 2@1 where index 1 belongs.");

    let mut changed = good.clone();
    changed.log[0].command = Some("x\0b".into());
    let write = "#0 (client 0 → n1 write \"x\\x00a\" [1, 2] = \"\" at 1)";
    let why = format!("{write} was executed by entry 1@1 as \"x\\x00b\".");
    assert_eq!(changed.witness().unwrap_err(), why);

    let why = witness(&good.history, &good.log, &mut Broken).unwrap_err();
    assert_eq!(why, "The replay stopped at entry 1@1: state machine halted: broken.");
}

struct Broken;

impl StateMachine for Broken {
    fn apply(&mut self, _: EntryId, _: &[u8]) -> Result<Bytes, raft_core::Halt> {
        Err(raft_core::Halt::new("broken"))
    }

    fn query(&self, _: &[u8]) -> Bytes {
        Bytes::new()
    }

    fn snapshot(&self) -> Result<Box<dyn raft_core::SnapshotSource>, raft_core::Halt> {
        Err(raft_core::Halt::new("broken"))
    }

    fn restore(
        &mut self,
        _: &mut dyn raft_core::SnapshotSource,
    ) -> Result<(), raft_core::SnapshotError> {
        Ok(())
    }
}

/// A verdict names the key, and no operation invoked after the moment that nothing explains.
#[test]
fn a_verdict_names_the_key_and_the_operations() {
    let run = run("write x=a 1-2 = - @1
         write y=b 3-4 = - @2
         write x=c 5-?
         read x 6-8 = - @0
         read x 7-9 = a @1
         read x 9-9 = a @1
         write x=d 9-?
         log 0 1");
    let verdict = Verdict::NotLinearizable { key: "x".into(), operations: vec![0, 2, 3, 4] };
    assert_eq!(run.verdict(), verdict);
}

/// A history may begin in any of several states: those that what came before allows.
#[test]
fn a_search_may_begin_in_one_of_several_states() {
    let run = run("read x 1-2 = a @0
         read x 3-4 = a @0
         log");
    let state = |value: &'static str| [("x".into(), value.into())].into();
    let ask = |initial: &[_]| search(run.history.operations(), &MapModel, initial, 10);
    assert_eq!(ask(&[state("b"), state("a")]), Verdict::Linearizable);
    assert!(matches!(ask(&[state("b"), state("c")]), Verdict::NotLinearizable { .. }));
}
