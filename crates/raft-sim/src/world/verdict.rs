//! The last look: what clients saw, judged twice.

use super::World;
use crate::history::History;
use crate::linearizability::{Verdict, windows, witness};
use crate::model::Model;
use crate::oracle::{Check, Failure};

/// Judges a history without knowing what nodes claim about it.
pub(crate) trait Judge: Send + Sync {
    /// # Errors
    ///
    /// Why it is not linearizable, or could not be decided.
    fn judge(&self, history: &History) -> Result<(), String>;
}

/// A judge that searches for an order, by a model of the user's.
pub(crate) struct Search<M>(pub(crate) M);

/// Stands visited per window before a judge gives up.
const BUDGET: u64 = 200_000;

impl<M: Model> Judge for Search<M> {
    fn judge(&self, history: &History) -> Result<(), String> {
        let operations = history.operations();
        match windows(history, &self.0, BUDGET) {
            Verdict::Linearizable => Ok(()),
            Verdict::NotLinearizable { key, operations: guilty } => {
                let guilty = guilty.iter().map(|number| operations[*number].to_string());
                let guilty: Vec<String> = guilty.collect();
                Err(format!("no order explains {}: {}", key.escape_ascii(), guilty.join("; ")))
            }
            Verdict::Undecided { key } => {
                Err(format!("undecided for {} within {BUDGET} stands", key.escape_ascii()))
            }
        }
    }
}

impl World {
    /// The order of the log explains every answer; and so does some order that an independent
    /// search finds.
    pub(super) fn judge_clients(&self) -> Check {
        let log = self.oracle.log(|ticket| self.attempts.get(&ticket).copied());
        let mut machine = self.ingredients.machines.plain();
        witness(&self.history, &log, &mut *machine)
            .map_err(|text| Failure::new("linearizability", text))?;
        self.judge_old_reads()?;
        match &self.ingredients.judge {
            Some(judge) => {
                let judged = judge.judge(&self.history);
                judged.map_err(|text| Failure::new("linearizability (search)", text))
            }
            None => Ok(()),
        }
    }

    /// Reads that may be old were answered from a state that there was.
    fn judge_old_reads(&self) -> Check {
        let mut reads: Vec<_> = self.old_reads.iter().collect();
        reads.sort_by_key(|read| read.index);
        let mut machine = self.ingredients.machines.plain();
        let log = self.oracle.log(|_| None);
        let mut entries = log.iter().peekable();
        for read in reads {
            while let Some(entry) = entries.next_if(|entry| entry.id.index <= read.index) {
                let Some(command) = &entry.command else { continue };
                // Whoever halts was told of by the witness.
                let _ = machine.apply(entry.id, command);
            }
            let expected = machine.query(&read.query);
            if expected != read.answer {
                let (node, index) = (read.node, read.index);
                let [query, answer, expected] = [&read.query, &read.answer, &expected]
                    .map(|bytes| bytes.escape_ascii().to_string());
                let text = format!(
                    "{node} answers \"{query}\" at {index} by \"{answer}\"; the log says \
                     \"{expected}\""
                );
                return Err(Failure::of("bounded reads", node, text));
            }
        }
        Ok(())
    }
}
