//! The log against naive models: a plain vector of entries, and a disk that does what it is told.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use alloc::{format, vec};

use super::*;
use crate::invariants;
use crate::rng::Rng;
use crate::state::Common;
use crate::{Follower, Incarnation, Member, RaftConfig, RaftState, Role, SnapshotId};

fn below(rng: &mut Rng, n: u64) -> u64 {
    (rng.next_u64() >> 8) % n.max(1)
}

fn at(index: u64, term: u64) -> EntryId {
    EntryId::new(Term::new(term), Index::new(index))
}

/// Equal ids, equal entries: the payload follows from the id. One in eight brings a membership.
fn entry(id: EntryId) -> Entry {
    let number = id.index.get() * 31 + id.term.get() * 17;
    let payload = if number.is_multiple_of(8) {
        let node = NodeId::new(1 + number % 5).expect("above zero");
        Payload::membership(&Membership::bootstrap(BTreeMap::from([(node, Member::default())])))
    } else {
        Payload::command(format!("{id}").repeat(1 + usize::try_from(number % 4).expect("small")))
    };
    Entry { id, payload }
}

fn place(index: Index) -> usize {
    usize::try_from(index.get()).expect("small")
}

/// The log as Figure 2 has it: a vector. Entries up to the base are kept, to see what they were.
#[derive(Default)]
struct Model {
    base: Index,
    ids: Vec<EntryId>,
    tickets: BTreeMap<Index, Ticket>,
    disk: Vec<EntryId>,
    /// Writes in flight: their number and entries.
    writing: VecDeque<(WriteId, Vec<EntryId>)>,
}

impl Model {
    fn last(&self) -> EntryId {
        self.ids.last().copied().unwrap_or_default()
    }

    fn id_at(&self, index: Index) -> Option<EntryId> {
        if index < self.base {
            return None;
        }
        place(index).checked_sub(1).map_or(Some(EntryId::ZERO), |at| self.ids.get(at).copied())
    }

    /// Figure 2, AppendEntries, steps 2 to 4, word by word.
    fn splice(&mut self, slice: &LogSlice, commit: Index) -> Result<Spliced, SpliceError> {
        let prev = slice.prev();
        let said = [prev].into_iter().chain(slice.entries().iter().map(|entry| entry.id));
        if said.clone().any(|id| id.index == self.base && self.id_at(self.base) != Some(id)) {
            return Err(SpliceError::Committed(self.base));
        }
        if prev.index > self.base && self.id_at(prev.index) != Some(prev) {
            let fits = |id: &&EntryId| id.index < prev.index && id.term <= prev.term;
            let above = self.ids.iter().filter(|id| id.index > self.base);
            let floor = self.id_at(self.base).expect("the base is held");
            return Err(SpliceError::Conflict {
                hint: above.rev().find(fits).copied().unwrap_or(floor),
            });
        }
        let new = slice.entries().iter().map(|entry| entry.id).filter(|id| id.index > self.base);
        let new: Vec<EntryId> = new.skip_while(|id| self.id_at(id.index) == Some(*id)).collect();
        let Some(first) = new.first().map(|id| id.index) else { return Ok(Spliced::default()) };
        if first <= commit {
            return Err(SpliceError::Committed(first));
        }
        let before = self.membership();
        self.ids.truncate(place(first) - 1);
        let kept = self.membership();
        self.ids.extend(new);
        let dropped = self.tickets.split_off(&first).into_values().collect();
        let membership_changed = before != kept || kept != self.membership();
        Ok(Spliced { dropped, first_new: Some(first), membership_changed })
    }

    /// The entry that brought the membership in force, re-derived from the whole log (§6).
    fn membership(&self) -> Option<EntryId> {
        let brings = |id: &&EntryId| entry(**id).payload.kind() == PayloadKind::Membership;
        self.ids.iter().rev().find(brings).copied()
    }

    fn finish(&mut self, written: &[EntryId]) {
        if let Some(first) = written.first() {
            self.disk.truncate(place(first.index) - 1);
            self.disk.extend(written);
        }
    }
}

/// A slice that may follow somewhere in the log, or a little beside it.
fn random_slice(rng: &mut Rng, model: &Model, term: u64) -> LogSlice {
    let index = below(rng, model.last().index.get() + 3);
    let held = model.id_at(Index::new(index)).filter(|_| below(rng, 4) > 0);
    let prev = held.unwrap_or_else(|| match index {
        0 => EntryId::ZERO,
        _ => at(index, 1 + below(rng, term)),
    });
    let mut last = prev;
    let mut entries = Vec::new();
    for _ in 0..below(rng, 5) {
        let index = last.index.next();
        // Mostly what the log holds there already, if that may follow.
        let same = model.id_at(index).filter(|id| id.term >= last.term && below(rng, 3) > 0);
        let term = last.term.get() + below(rng, term - last.term.get() + 1);
        last = same.unwrap_or_else(|| EntryId::new(Term::new(term.max(1)), index));
        entries.push(entry(last));
    }
    LogSlice::new(prev, entries).expect("indexes follow each other and terms never fall")
}

fn assert_same(log: &Log, model: &Model, rng: &mut Rng) {
    let (base, last) = (model.base, model.last());
    assert_eq!(log.last(), last);
    assert_eq!(Some(log.base()), model.id_at(base));
    for index in 0..=last.index.get() + 2 {
        let index = Index::new(index);
        assert_eq!(log.term_at(index), model.id_at(index).map(|id| id.term), "at {index}");
    }
    assert_eq!(log.membership().id(), model.membership().unwrap_or_default());
    assert_eq!(log.waiting(), model.tickets.len());
    assert_eq!(log.verify(), Ok(()));
    // Durable means: the disk holds it, whatever was cut and came back.
    let durable = place(log.durable());
    assert_eq!(model.disk.get(..durable), Some(&model.ids[..durable]), "durable is a promise");
    if model.writing.is_empty() && log.handed() == last.index {
        assert_eq!(log.durable(), last.index, "all was written, so all is durable");
    }
    assert_eq!(
        log.cache_bytes,
        log.cache.iter().map(|entry| entry.payload.cost()).sum::<u64>(),
        "bytes in memory are counted"
    );
    if last.index == base {
        return;
    }
    // What memory hands out is the log; what it lacks is on the disk or below the base.
    let first = Index::new(1 + below(rng, last.index.get()));
    let (upto, max) = (last.index, below(rng, 400));
    let start = log.cache.front().map_or_else(|| last.index.next(), |entry| entry.id.index);
    match log.entries(first, upto, max) {
        Cached::Compacted => assert!(first <= base),
        Cached::OnDisk => assert!(first < start && start <= log.durable().next()),
        Cached::Entries(entries) => {
            let ids: Vec<EntryId> = entries.iter().map(|entry| entry.id).collect();
            assert!(!ids.is_empty(), "at least one entry");
            assert_eq!(ids[..], model.ids[place(first) - 1..][..ids.len()]);
            let cost = |count: usize| -> u64 {
                model.ids[place(first) - 1..][..count]
                    .iter()
                    .map(|id| entry(*id).payload.cost())
                    .sum()
            };
            assert!(ids.len() == 1 || cost(ids.len()) <= max, "no more than fit");
            let all = place(upto) + 1 - place(first);
            assert!(ids.len() == all || cost(ids.len() + 1) > max, "as many as fit");
        }
    }
}

/// One random step, done to the log and to the model.
fn step(rng: &mut Rng, log: &mut Log, model: &mut Model, term: &mut u64, tickets: &mut u64) {
    match below(rng, 16) {
        0..=2 => {
            *tickets += 1;
            let ticket = (below(rng, 2) == 0).then(|| Ticket::new(*tickets));
            let id = EntryId::new(Term::new(*term), model.last().index.next());
            assert_eq!(log.append(id.term, entry(id).payload, ticket), id);
            model.ids.push(id);
            model.tickets.extend(ticket.map(|ticket| (id.index, ticket)));
        }
        3..=6 => {
            let slice = random_slice(rng, model, *term);
            let durable = log.durable().get();
            let commit = Index::new(below(rng, durable + 1)).max(model.base);
            let spliced = log.splice(&slice, commit);
            assert_eq!(spliced, model.splice(&slice, commit), "{slice:?} at {commit}");
            if let Err(SpliceError::Conflict { hint }) = spliced {
                assert!(hint.index < slice.prev().index, "a rejection moves the leader back");
                assert!(log.holds(hint), "a hint names an entry of this log");
            }
        }
        7 => *term += below(rng, 3),
        8 | 9 => {
            let hard = HardState { term: Term::new(*term), ..HardState::default() };
            let (id, _, entries) = log.begin_write(hard, below(rng, 500), Time::ZERO);
            let ids = entries.iter().map(|entry| entry.id).collect();
            model.writing.push_back((id, ids));
        }
        10..=12 => {
            let Some((id, written)) = model.writing.pop_front() else { return };
            model.finish(&written);
            log.finish_write(Persisted { id });
        }
        13 => {
            let upto = Index::new(below(rng, model.last().index.get() + 1));
            let later = model.tickets.split_off(&upto.next());
            let taken = mem::replace(&mut model.tickets, later);
            assert_eq!(log.take_tickets(upto), taken.into_iter().collect::<Vec<_>>());
        }
        14 => {
            let keep_after = Index::new(below(rng, model.last().index.get() + 1));
            let end = model.last().index.next();
            let before = log.cache.front().map_or(end, |entry| entry.id.index);
            log.evict(below(rng, 600), keep_after);
            let after = log.cache.front().map_or(end, |entry| entry.id.index);
            let wanted = keep_after.min(log.durable()).next();
            assert!(
                after <= before.max(wanted),
                "what is not durable, or still wanted, stays in memory"
            );
        }
        _ => {
            let upto = log.durable();
            if below(rng, 4) > 0 || upto <= model.base {
                return;
            }
            let range = upto.get() - model.base.get();
            let index = Index::new(model.base.get() + 1 + below(rng, range));
            let last_included = model.id_at(index).expect("it is in the log");
            let brought = model.ids[..place(index)].iter().rev();
            let brings = |id: &&EntryId| entry(**id).payload.kind() == PayloadKind::Membership;
            let id = brought.clone().find(brings).copied().unwrap_or_default();
            let membership = Membership::default().brought_by(id);
            let id = SnapshotId::default();
            log.compact(SnapshotMeta { id, last_included, membership, data_bytes: 0 }, index);
            model.base = index;
        }
    }
}

/// Whatever is appended, spliced, cut, written, evicted and compacted, the log equals a plain
/// vector, every ticket leaves once, and the durable mark never promises more than the disk holds.
#[test]
fn random_histories_agree_with_a_plain_vector() {
    for seed in 0..400 {
        let mut rng = Rng::new(seed);
        let mut log = Log::new(Restored::default(), None);
        let mut model = Model::default();
        let (mut term, mut tickets) = (1, 0);
        for _ in 0..300 {
            step(&mut rng, &mut log, &mut model, &mut term, &mut tickets);
            assert_same(&log, &model, &mut rng);
        }
    }
}

/// A log restored from the disk equals the one that was written.
#[test]
fn a_restored_log_equals_the_one_written() {
    for seed in 0..300 {
        let mut rng = Rng::new(seed);
        let mut ids = Vec::new();
        let mut term = 1;
        for index in 1..=below(&mut rng, 20) {
            term += below(&mut rng, 2) * below(&mut rng, 3);
            ids.push(at(index, term));
        }
        let tail = ids
            [ids.len() - usize::try_from(below(&mut rng, ids.len() as u64 + 1)).expect("small")..]
            .iter()
            .map(|id| entry(*id))
            .collect();
        let mut terms: Vec<(Index, Term)> = Vec::new();
        for id in &ids {
            if terms.last().is_none_or(|(_, term)| *term < id.term) {
                terms.push((id.index, id.term));
            }
        }
        let hard_state = HardState { term: Term::new(term), ..HardState::default() };
        let last = ids.last().copied().unwrap_or_default();
        let restored = Restored { hard_state, terms, last, tail, ..Restored::default() };
        assert_eq!(restored.validate(), Ok(()));
        let log = Log::new(restored, None);
        let disk = ids.clone();
        let model = Model { ids, disk, ..Model::default() };
        for index in 0..=last.index.get() + 1 {
            let index = Index::new(index);
            assert_eq!(log.term_at(index), model.id_at(index).map(|id| id.term));
        }
        assert_eq!((log.last(), log.durable(), log.verify()), (last, last.index, Ok(())));
    }
}

/// `last_not_above` for every small log, term and index, against a search from the end.
#[test]
fn the_last_entry_not_above_a_term_agrees_with_a_search() {
    for code in 0..3u64.pow(6) {
        // Terms that never fall, from the digits of a number.
        let mut term = 1;
        let steps = (0..6).map(|digit| code / 3u64.pow(digit) % 3);
        let ids: Vec<EntryId> = steps
            .enumerate()
            .map(|(i, step)| {
                term += step;
                at(i as u64 + 1, term)
            })
            .collect();
        let mut log = Log::new(Restored::default(), None);
        for id in &ids {
            log.append(id.term, entry(*id).payload, None);
        }
        for index in 0..8 {
            for term in 0..14 {
                let fits = |id: &&EntryId| id.index.get() <= index && id.term.get() <= term;
                let expected = ids.iter().rev().find(fits).copied().unwrap_or_default();
                assert_eq!(log.last_not_above(Term::new(term), Index::new(index)), expected);
            }
        }
    }
}

/// A follower repaired by hints ends with the leader's log, after at most one rejection for each
/// term in which the two logs differ, and one more. (Going back entry by entry, or a hint at `prev`
/// itself, never gets there.)
#[test]
fn repair_by_hints_needs_a_rejection_a_term_at_most() {
    for seed in 0..3_000 {
        let mut rng = Rng::new(seed);
        let common = below(&mut rng, 6);
        let mut shared = Vec::new();
        let mut term = 1;
        for index in 1..=common {
            term += below(&mut rng, 2);
            shared.push(at(index, term));
        }
        // After the common part no term is in both logs: each term had one leader.
        let mut branch = |parity: u64| {
            let mut ids = shared.clone();
            let mut step = term / 2 + 1;
            for index in common + 1..=common + below(&mut rng, 12) {
                step += below(&mut rng, 2);
                ids.push(at(index, 2 * step + parity));
            }
            ids
        };
        let (leader_ids, follower_ids) = (branch(0), branch(1));
        let mut leader = Log::new(Restored::default(), None);
        let mut follower = Log::new(Restored::default(), None);
        for (log, ids) in [(&mut leader, &leader_ids), (&mut follower, &follower_ids)] {
            for id in ids {
                log.append(id.term, entry(*id).payload, None);
            }
        }
        // As `Progress` does: ask behind the last entry, then behind what the hint allows.
        let all: BTreeSet<Term> =
            leader_ids.iter().chain(&follower_ids).skip(shared.len()).map(|id| id.term).collect();
        let mut prev = leader.last();
        let mut rejections = 0;
        loop {
            let new: Vec<Entry> =
                leader_ids.iter().filter(|id| id.index > prev.index).map(|id| entry(*id)).collect();
            let slice = LogSlice::new(prev, new).expect("it is a piece of a log");
            match follower.splice(&slice, Index::ZERO) {
                Ok(_) => break,
                Err(SpliceError::Conflict { hint }) => {
                    rejections += 1;
                    let next = leader.last_not_above(hint.term, hint.index);
                    assert!(next.index < prev.index, "every rejection moves the leader back");
                    prev = next;
                }
                Err(error) => unreachable!("nothing is committed: {error:?}"),
            }
        }
        assert!(rejections <= all.len() + 1, "{rejections} for {} terms", all.len());
        assert!(leader_ids.iter().all(|id| follower.holds(*id)), "the follower was repaired");
    }
}

/// The case of asynchronous writes that come back too late: the same entry is cut away, written
/// again, and meant twice by different receipts.
#[test]
fn a_receipt_counts_for_the_entries_it_was_given_for() {
    let mut log = Log::new(Restored::default(), None);
    let slice = |prev, ids: Vec<EntryId>| {
        LogSlice::new(prev, ids.into_iter().map(entry).collect()).expect("it follows")
    };
    let hard = |term| HardState { term: Term::new(term), ..HardState::default() };
    let (one, old, new) = (at(1, 1), at(2, 1), at(2, 2));
    log.splice(&slice(EntryId::ZERO, vec![one, old]), Index::ZERO).unwrap();
    let (first, ..) = log.begin_write(hard(1), u64::MAX, Time::ZERO);
    log.splice(&slice(one, vec![new]), Index::ZERO).unwrap();
    let (second, ..) = log.begin_write(hard(2), u64::MAX, Time::ZERO);
    // The old entry comes back, by a leader of term 3 that holds it.
    log.splice(&slice(one, vec![old, at(3, 3)]), Index::ZERO).unwrap();
    let (third, ..) = log.begin_write(hard(3), u64::MAX, Time::ZERO);
    for (id, durable) in [(first, 1), (second, 1), (third, 3)] {
        log.finish_write(Persisted { id });
        assert_eq!(log.durable(), Index::new(durable), "after write {id}");
    }
}

/// The entry before the first one, at the base: one below, at it, one above (lesson 10).
#[test]
fn prev_around_the_base_is_judged_by_what_is_committed() {
    let mut log = Log::new(Restored::default(), None);
    for id in [at(1, 1), at(2, 1), at(3, 2), at(4, 2)] {
        log.append(id.term, entry(id).payload, None);
    }
    let hard = HardState { term: Term::new(2), ..HardState::default() };
    let (id, ..) = log.begin_write(hard, u64::MAX, Time::ZERO);
    log.finish_write(Persisted { id });
    let membership = Membership::default();
    let (id, last_included) = (SnapshotId::default(), at(3, 2));
    let snapshot = SnapshotMeta { id, last_included, membership, data_bytes: 0 };
    log.compact(snapshot, last_included.index);
    assert_eq!((log.base(), log.last()), (at(3, 2), at(4, 2)));
    assert_eq!(log.term_at(Index::new(2)), None);
    let mut ask = |prev, ids: &[EntryId]| {
        let entries = ids.iter().map(|id| entry(*id)).collect();
        log.splice(&LogSlice::new(prev, entries).expect("it follows"), Index::new(3))
    };
    // Below the base: committed, so it matches whatever is said; entries up to the base are
    // skipped.
    assert_eq!(ask(at(2, 1), &[at(3, 2), at(4, 2)]), Ok(Spliced::default()));
    assert_eq!(ask(at(3, 2), &[at(4, 2)]), Ok(Spliced::default()));
    assert_eq!(ask(at(4, 2), &[]), Ok(Spliced::default()));
    // At the base another entry, named as the one before or among the new ones: a broken leader.
    assert_eq!(ask(at(3, 1), &[at(4, 1)]), Err(SpliceError::Committed(Index::new(3))));
    assert_eq!(
        ask(at(1, 1), &[at(2, 1), at(3, 1), at(4, 1)]),
        Err(SpliceError::Committed(Index::new(3)))
    );
    // Above it: compared. The hint is the base, for nothing else is below.
    assert_eq!(ask(at(4, 3), &[]), Err(SpliceError::Conflict { hint: at(3, 2) }));
    assert_eq!(ask(at(5, 3), &[]), Err(SpliceError::Conflict { hint: at(4, 2) }));
}

/// No step of a log makes the durable mark pass its end, so only from inside can it be put there:
/// the node then stops before it promises what it does not hold.
#[test]
#[should_panic(expected = "only what is in the log is durable")]
fn a_durable_mark_beyond_the_log_is_noticed() {
    let config = RaftConfig::new(1, vec![2, 3]);
    let mut common = Common::new(config, Incarnation::new(7), Restored::default());
    let role = Role::Follower(Follower::at_start(&mut common));
    let mut state = RaftState { common, role };
    invariants::check(&state);
    let writes = &mut state.common.log.writes;
    let id = writes.begin(Index::new(1), HardState::default(), Time::ZERO);
    writes.finish(id);
    invariants::check(&state);
}
