//! The log as the witness: it says in which order everything took effect, and this verifies it.
//!
//! * A write stands at its index; a read stands at the index it claims, after the write there.
//! * A write with an unknown outcome stands in the log, with a return that never comes, or it does
//!   not count. An unknown read never counts.
//!
//! The pass goes through the log once; sorting the reads makes it O(n log n).

use std::collections::BTreeMap;

use bytes::Bytes;
use raft_core::{EntryId, Index, StateMachine};

use crate::history::{End, History, Kind, Operation};

/// A committed entry, as far as a history is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogCommand {
    /// Which entry.
    pub id: EntryId,
    /// The command that was applied; `None` for no-ops, memberships, and whatever else does not
    /// reach the state machine, such as a retry that a session recognised.
    pub command: Option<Bytes>,
    /// The number of the operation that this entry is an execution of, if it is one.
    pub operation: Option<usize>,
}

/// Verifies a history against the committed log, from index 1 on, replayed by a fresh `machine`.
///
/// 1. Every answered write is the one executed at its index, and was answered like the replay.
/// 2. Every answered read was answered like the replay after its index.
/// 3. No operation is executed twice; none that claims to be not applied is executed.
/// 4. In the order of the log no operation returned before a predecessor was invoked.
///
/// # Errors
///
/// A sentence for people that names the operations and the entry at odds.
pub fn witness(
    history: &History,
    log: &[LogCommand],
    machine: &mut dyn StateMachine,
) -> Result<(), String> {
    let operations = history.operations();
    let executions = executions(operations, log)?;
    claims(operations, log, &executions)?;
    let reads = reads(operations, log)?;
    let mut latest = Latest { operations, number: None };
    answer_reads(&reads, Index::ZERO, machine, &mut latest)?;
    for entry in log {
        if let Some(command) = &entry.command {
            let answer = machine
                .apply(entry.id, command)
                .map_err(|halt| format!("The replay stopped at entry {}: {halt}.", entry.id))?;
            if let Some(number) = entry.operation {
                latest.admit(number)?;
                compare(operations, number, &answer)?;
            }
        }
        answer_reads(&reads, entry.id.index, machine, &mut latest)?;
    }
    Ok(())
}

/// Where each operation was executed, after checking what the log itself must satisfy.
fn executions(
    operations: &[Operation],
    log: &[LogCommand],
) -> Result<BTreeMap<usize, Index>, String> {
    let mut executions = BTreeMap::new();
    let mut index = Index::ZERO;
    for entry in log {
        index = index.next();
        let id = entry.id;
        if id.index != index {
            return Err(format!("The log has entry {id} where index {index} belongs."));
        }
        let Some(number) = entry.operation else { continue };
        let Some(operation) = operations.get(number) else {
            return Err(format!("Entry {id} executes #{number}, which was never invoked."));
        };
        let named = named(number, operation);
        if operation.kind == Kind::Read {
            return Err(format!("{named} is a read, but entry {id} executes it."));
        }
        if entry.command.as_ref() != Some(&operation.input) {
            let found = entry.command.as_deref().unwrap_or_default().escape_ascii();
            return Err(format!("{named} was executed by entry {id} as \"{found}\"."));
        }
        if let Some(first) = executions.insert(number, index) {
            return Err(format!("{named} was executed twice, at {first} and at {index}."));
        }
        if matches!(operation.end, End::NotApplied { .. }) {
            return Err(format!("{named} claims to be not applied, but entry {id} executes it."));
        }
    }
    Ok(executions)
}

/// Checks that every answered write was executed where its answer claims.
fn claims(
    operations: &[Operation],
    log: &[LogCommand],
    executions: &BTreeMap<usize, Index>,
) -> Result<(), String> {
    for (number, operation) in operations.iter().enumerate() {
        let (Kind::Write, End::Answered { index, .. }) = (operation.kind, &operation.end) else {
            continue;
        };
        if executions.get(&number) == Some(index) {
            continue;
        }
        let named = named(number, operation);
        let found = match executions.get(&number) {
            Some(other) => format!("but was executed at {other}"),
            None => "but was never executed".to_owned(),
        };
        let instead = match log.iter().find(|entry| entry.id.index == *index) {
            Some(LogCommand { operation: Some(other), .. }) => {
                format!("entry {index} executes {}", named_by(operations, *other))
            }
            Some(LogCommand { operation: None, .. }) => {
                format!("entry {index} executes no operation")
            }
            None => format!("the log ends at {}", last_index(log)),
        };
        return Err(format!("{named} claims index {index}, {found}; {instead}."));
    }
    Ok(())
}

/// The numbers of all answered reads by the index they claim, each list by invocation.
fn reads(
    operations: &[Operation],
    log: &[LogCommand],
) -> Result<BTreeMap<Index, Vec<usize>>, String> {
    let last = last_index(log);
    let mut reads: BTreeMap<Index, Vec<usize>> = BTreeMap::new();
    for (number, operation) in operations.iter().enumerate() {
        let (Kind::Read, End::Answered { index, .. }) = (operation.kind, &operation.end) else {
            continue;
        };
        if *index > last {
            let named = named(number, operation);
            return Err(format!("{named} claims index {index}, but the log ends at {last}."));
        }
        reads.entry(*index).or_default().push(number);
    }
    Ok(reads)
}

/// Puts the reads that claim `index` into the order and compares their answers.
fn answer_reads(
    reads: &BTreeMap<Index, Vec<usize>>,
    index: Index,
    machine: &dyn StateMachine,
    latest: &mut Latest<'_>,
) -> Result<(), String> {
    for number in reads.get(&index).into_iter().flatten() {
        latest.admit(*number)?;
        let answer = machine.query(&latest.operations[*number].input);
        compare(latest.operations, *number, &answer)?;
    }
    Ok(())
}

/// Compares an answer, if there was one, with that of the replay.
fn compare(operations: &[Operation], number: usize, replayed: &Bytes) -> Result<(), String> {
    match &operations[number].end {
        End::Answered { answer, .. } if answer != replayed => {
            let (named, replayed) = (named(number, &operations[number]), replayed.escape_ascii());
            Err(format!("{named} is answered \"{replayed}\" by the replay."))
        }
        // An answer as expected; and what was not answered cannot be wrong.
        End::Answered { .. } | End::NotApplied { .. } | End::Unknown => Ok(()),
    }
}

/// The latest invocation among the operations in the order so far: the running maximum.
struct Latest<'a> {
    operations: &'a [Operation],
    number: Option<usize>,
}

impl Latest<'_> {
    /// Appends an operation to the order. It must not have returned before a predecessor began.
    fn admit(&mut self, number: usize) -> Result<(), String> {
        let operation = &self.operations[number];
        let Some(before) = self.number else {
            self.number = Some(number);
            return Ok(());
        };
        let latest = self.operations[before].invoked;
        match &operation.end {
            End::Answered { returned, .. } | End::NotApplied { returned } if *returned < latest => {
                return Err(format!(
                    "{} returned before {} was invoked, but the log has them the other way round.",
                    named(number, operation),
                    named(before, &self.operations[before]),
                ));
            }
            // It may have taken effect at any time, or it did while its predecessor was open.
            End::Answered { .. } | End::NotApplied { .. } | End::Unknown => {}
        }
        if operation.invoked > latest {
            self.number = Some(number);
        }
        Ok(())
    }
}

fn last_index(log: &[LogCommand]) -> Index {
    log.last().map_or(Index::ZERO, |entry| entry.id.index)
}

fn named(number: usize, operation: &Operation) -> String {
    format!("#{number} ({operation})")
}

fn named_by(operations: &[Operation], number: usize) -> String {
    operations.get(number).map_or_else(|| format!("#{number}"), |found| named(number, found))
}
