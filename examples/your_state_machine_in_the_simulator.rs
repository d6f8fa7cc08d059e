//! Your own state machine in the simulator: a bank, what its clients ask, and what must hold. It
//! has a bug that no test of `apply` shows; with the argument `fixed` it has none. To run it:
//! `cargo run --release --example your_state_machine_in_the_simulator [fixed]`
#![expect(clippy::print_stdout, reason = "an example shows what it did")]
use raft_core::{EntryId, Halt, SnapshotError, SnapshotSource, StateMachine};
use raft_sim::{Bytes, Choices, Config, Plan, Request, Site, Summary, Workload, check};

struct Bank<const FIXED: bool> {
    balances: [u8; 4],
    under_way: [u8; 4], // money that left one account and has not arrived at the other
}

impl<const FIXED: bool> StateMachine for Bank<FIXED> {
    fn apply(&mut self, _: EntryId, command: &[u8]) -> Result<Bytes, Halt> {
        let &[from, to, amount] = command else { return Err(Halt::new("this is no transfer")) };
        let (from, to) = (usize::from(from), usize::from(to));
        self.balances[to] += std::mem::take(&mut self.under_way[to]);
        let Some(rest) = self.balances[from].checked_sub(amount) else { return Ok("no".into()) };
        (self.balances[from], self.under_way[to]) = (rest, amount);
        Ok("yes".into())
    }
    fn query(&self, account: &[u8]) -> Bytes {
        account.iter().map(|account| self.balances[usize::from(*account)]).collect()
    }
    fn snapshot(&self) -> Result<Box<dyn SnapshotSource>, Halt> {
        let under_way = if FIXED { &self.under_way[..] } else { &[] }; // the bug: it is forgotten
        Ok(Box::new(Some(Bytes::from([&self.balances, under_way].concat()))))
    }
    fn restore(&mut self, snapshot: &mut dyn SnapshotSource) -> Result<(), SnapshotError> {
        let (bytes, wrong) = (snapshot.read_all()?, || SnapshotError::malformed("four balances"));
        let (balances, under_way) = bytes.split_first_chunk().ok_or_else(wrong)?;
        (self.balances, self.under_way) = (*balances, under_way.try_into().unwrap_or_default());
        Ok(())
    }
}

/// What clients ask: the balance of an account, or a transfer.
struct Transfers;

impl Workload for Transfers {
    fn next(&self, choices: &Choices, _client: u32, _number: u64) -> Request {
        let any = |domain: &[u8]| *choices.pick(Site::Workload, domain);
        let [from, to] = [any(&[0, 1, 2, 3]), any(&[0, 1, 2, 3])];
        let reads = any(&[0, 1, 2]) == 0;
        let write = || Request::Write(vec![from, to, any(&[5, 1, 25])].into());
        if reads { Request::Read(vec![from].into()) } else { write() }
    }
}

fn simulate<const FIXED: bool>(config: &Config) -> Summary {
    let bank = || Bank::<FIXED> { balances: [25; 4], under_way: [0; 4] };
    let sum = |bank: &Bank<FIXED>| bank.balances.iter().chain(&bank.under_way).sum::<u8>();
    check(config, &Plan::new(bank, Transfers).invariant("the sum is 100", move |b| sum(b) == 100))
}
fn main() {
    let fixed = std::env::args().nth(1).is_some_and(|word| word == "fixed");
    println!("{}", if fixed { simulate::<true> } else { simulate::<false> }(&Config::from_env()));
}
#[cfg(test)]
mod tests;
