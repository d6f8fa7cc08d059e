//! How a run ends: a core is healed, everything else stays in its worst state for ever, and the
//! core must elect, serve and come to rest.
//!
//! Faults that heal everywhere hide livelocks; faults that never heal do not. Read next:
//! `verdict.rs`, the last look at what clients saw.

use std::collections::{BTreeSet, VecDeque};

use raft_core::{Membership, NodeId, Promotion, RaftState, Role, Term};

use super::clients::{Client, Probe};
use super::{Event, World};
use crate::atlas::{Atlas, Disk};
use crate::choice::Site;
use crate::disk::Crash;
use crate::history::Kind;
use crate::network::place;
use crate::oracle::members::is_quorum;
use crate::oracle::{Check, Failure};
use crate::trace::What;

/// The second part of a run.
#[derive(Debug)]
pub(crate) struct Liveness {
    /// The machines that work. Empty if too few disks are undamaged.
    pub(crate) core: Vec<usize>,
    pub(crate) since: u64,
    pub(crate) deadline: u64,
    /// What was committed halfway through a silence.
    quiet: Option<usize>,
}

/// Within so many of the longest election timeouts the core must be at rest, having served.
pub(crate) const TIMEOUTS: u64 = 50;

/// Besides, a process may take so long to read its disk, and a client to give up.
const GRACE_NS: u64 = 10_000_000_000;

/// How a machine outside the core stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Frozen {
    Dead,
    CutOff,
    /// It sends and does not hear: an old leader, or a candidate without end.
    Deaf,
    /// It hears and is not heard.
    Mute,
    /// It runs, reachable by all, with whatever is wrong with it gone.
    Bystander,
}

/// The last entry that a snapshot of this node covers.
fn log_covered(state: &RaftState) -> u64 {
    state.log().snapshot().map_or(0, |snapshot| snapshot.last_included.index.get())
}

/// The membership after these learners were promoted; `None` if nobody was to be.
fn promoted<'a>(
    present: &Membership,
    plans: impl IntoIterator<Item = (&'a NodeId, &'a Promotion)>,
) -> Option<Membership> {
    let mut voters = present.voters().clone();
    for (learner, promotion) in plans {
        voters.insert(*learner);
        if let Promotion::Replaces(old) = promotion {
            voters.remove(old);
        }
    }
    let is_other = voters != *present.voters();
    let (id, members) = (present.id(), present.members().clone());
    is_other.then(|| Membership::from_parts(id, members, voters, BTreeSet::new()))?
}

impl World {
    pub(super) fn begin_liveness(&mut self) {
        let core = self.draw_core();
        let bound = TIMEOUTS * self.swarm.election_max_ns() + self.swarm.patience_ns + GRACE_NS;
        let ids: Vec<NodeId> = core.iter().map(|seat| self.seats[*seat].id).collect();
        self.tell(|| What::Part { text: format!("liveness: {ids:?} must serve and come to rest") });
        let (since, deadline) = (self.now, self.now + bound);
        self.liveness = Some(Liveness { core: core.clone(), since, deadline, quiet: None });
        self.heal_world();
        for seat in 0..self.seats.len() {
            if core.is_empty() {
                self.start_over(seat);
            } else if core.contains(&seat) {
                self.wake_up(seat);
            } else {
                self.freeze(seat);
            }
        }
        self.push(self.now + self.swarm.election_ns, Event::Checkup);
    }

    /// Some machines with disks that count: a quorum of every membership that is or may yet be in
    /// force, or more. Empty if there is none.
    fn draw_core(&self) -> Vec<usize> {
        let possible = self.possible();
        let disks = self.all_disks();
        let is_member = |node| possible.iter().any(|group| group.members().contains_key(&node));
        let able = disks.iter().filter(|disk| is_member(disk.node));
        let able = able.filter(|disk| possible.iter().all(|group| self.atlas.counts(group, disk)));
        let mut core: Vec<usize> = able.map(|disk| place(disk.node)).collect();
        let is_enough = |core: &[usize]| {
            let works = |node: NodeId| core.contains(&place(node));
            possible.iter().all(|group| is_quorum(group, works))
        };
        if !is_enough(&core) {
            return Vec::new();
        }
        let spare = self.choices.choose(Site::Core, core.len() as u64);
        for _ in 0..spare {
            let out = self.choices.choose(Site::Core, core.len() as u64);
            let out = core.remove(usize::try_from(out).expect("a small number"));
            if !is_enough(&core) {
                core.push(out);
            }
        }
        core.sort_unstable();
        core
    }

    /// Every membership that is or may come into force without anybody asking: what disks and
    /// processes hold, what was under way to a disk when its process ended, and what becomes of it
    /// when learners are promoted by themselves, for until it notices who is gone a leader may
    /// still do that.
    fn possible(&self) -> Vec<Membership> {
        let mut possible = self.oracle.possible();
        let newest = self.oracle.membership().id();
        let held = self.seats.iter().filter_map(|seat| seat.process());
        let held = held.flat_map(|process| process.raft.state().log().memberships());
        let under_way = self.seats.iter().flat_map(|seat| &seat.under_way);
        let held = held.chain(under_way.flat_map(|facts| &facts.memberships));
        for membership in held.filter(|held| held.id().index > newest.index) {
            if !possible.contains(membership) {
                possible.push(membership.clone());
            }
        }
        let promoted = possible.iter().flat_map(|membership| {
            let plans = membership.promotions().iter();
            let each = plans.clone().map(|plan| promoted(membership, [plan]));
            each.chain([promoted(membership, plans)]).collect::<Vec<_>>()
        });
        let promoted: Vec<Membership> = promoted.flatten().collect();
        possible.extend(promoted);
        possible
    }

    /// The machines of the core that belong to the group now.
    fn members(&self) -> Vec<usize> {
        let core = self.liveness.as_ref().map(|liveness| liveness.core.clone());
        let group = self.oracle.membership().members();
        let mut members = core.unwrap_or_default();
        members.retain(|seat| group.contains_key(&self.seats[*seat].id));
        members
    }

    fn heal_world(&mut self) {
        self.nemesis.stop();
        self.network.heal(self.now);
        for seat in 0..self.seats.len() {
            self.seats[seat].disk.heal();
            self.seats[seat].effects_left = None;
            self.seats[seat].clock.set_rate(self.now, crate::clock::TRUE_RATE);
        }
        self.unswap();
    }

    fn wake_up(&mut self, seat: usize) {
        // A paused machine goes on; its backlog is part of what it has to bear.
        self.push(self.now, Event::Resume { seat });
        let machine = &mut self.seats[seat];
        machine.is_out = false;
        if let Some(process) = machine.process_mut() {
            process.timer = None;
        }
        let life = machine.life;
        self.set_timer(seat);
        self.push(self.now, Event::Start { seat, life });
    }

    /// Without a core every machine is started again: a damaged disk must be whole or refuse.
    fn start_over(&mut self, seat: usize) {
        if !self.seats[seat].is_down() {
            self.crash(seat, Crash::Power, "is started again");
        }
        if !self.seats[seat].is_out {
            self.wake_up(seat);
        }
    }

    fn freeze(&mut self, seat: usize) {
        use Frozen::{Bystander, CutOff, Dead, Deaf, Mute};
        let how = *self.choices.pick(Site::Core, &[Dead, CutOff, Deaf, Mute, Bystander]);
        let id = self.seats[seat].id;
        let text = format!("{id} stays as it is: {how:?}");
        self.tell(|| What::Fault { nodes: vec![id], text });
        let others: Vec<NodeId> = self.seats.iter().map(|seat| seat.id).collect();
        for other in others.into_iter().filter(|other| *other != id) {
            if matches!(how, CutOff | Mute) {
                self.network.cut(id, other);
            }
            if matches!(how, CutOff | Deaf) {
                self.network.cut(other, id);
            }
        }
        if how == Dead {
            self.seats[seat].is_out = true;
            if !self.seats[seat].is_down() {
                self.crash(seat, Crash::Power, "dies for good");
            }
        } else {
            self.wake_up(seat);
        }
        let machine = &mut self.seats[seat];
        machine.is_out |= self.atlas.is_damaged(id) && machine.is_down();
    }

    /// The seat of a leader in the core.
    pub(super) fn core_leader(&self) -> Option<usize> {
        let leads = |seat: &&usize| {
            let state = self.seats[**seat].process().map(|process| process.raft.state());
            state.is_some_and(|state| matches!(state.role(), Role::Leader(_)))
        };
        let liveness = self.liveness.as_ref()?;
        let leaders = liveness.core.iter().filter(leads);
        leaders.max_by_key(|seat| self.term(**seat)).copied()
    }

    fn term(&self, seat: usize) -> Term {
        let process = self.seats[seat].process();
        process.map_or(Term::ZERO, |process| process.raft.state().current_term())
    }

    /// Looks whether the core is at rest.
    pub(super) fn checkup(&mut self) -> Check {
        let Some(liveness) = &self.liveness else { return Ok(()) };
        let (deadline, since) = (liveness.deadline, liveness.since);
        if liveness.core.is_empty() {
            return self.silence(since);
        }
        let unmet = self.unmet();
        let Some(unmet) = unmet else {
            self.is_finished = true;
            return Ok(());
        };
        if self.now > deadline {
            return self.not_live(&unmet);
        }
        self.push(self.now + self.swarm.election_ns / 2, Event::Checkup);
        Ok(())
    }

    /// Too few undamaged disks: no service is demanded. Whoever stands still says what it misses,
    /// and while too few take part nothing is committed any more.
    fn silence(&mut self, since: u64) -> Check {
        let half = 10 * self.swarm.election_max_ns() + self.swarm.patience_ns;
        let committed = self.oracle.committed();
        if self.now >= since + half
            && let Some(liveness) = &mut self.liveness
        {
            liveness.quiet.get_or_insert(committed);
        }
        if self.now < since + 2 * half {
            self.push(self.now + self.swarm.election_ns, Event::Checkup);
            return Ok(());
        }
        let mute = self.seats.iter().find(|seat| {
            let says = seat.halted.as_ref().is_some_and(|text| !text.is_empty());
            seat.is_down() && self.atlas.is_damaged(seat.id) && !says
        });
        if let Some(seat) = mute {
            let text = format!("{} stands still and does not say what it misses", seat.id);
            return Err(Failure::of("damage", seat.id, text));
        }
        let disks = self.all_disks();
        let newest = self.oracle.membership();
        let takes_part = |node: NodeId| {
            let counts = |disk: &&Disk<'_>| disk.node == node && self.atlas.counts(newest, disk);
            self.seats[place(node)].process().is_some() && disks.iter().any(|disk| counts(&disk))
        };
        let quiet = self.liveness.as_ref().and_then(|liveness| liveness.quiet);
        if !is_quorum(newest, takes_part) && quiet.is_some_and(|quiet| quiet < committed) {
            let text = format!("no quorum of {newest} takes part, and entries are committed");
            return Err(Failure::new("damage", text));
        }
        self.is_finished = true;
        Ok(())
    }

    /// What the core still lacks; `None` if it is at rest, having served.
    fn unmet(&mut self) -> Option<String> {
        self.skip_who_left();
        if !self.clients_rest() {
            return Some("an operation has not ended".into());
        }
        let core = self.members();
        let down = core.iter().find(|seat| self.seats[**seat].process().is_none());
        if let Some(seat) = down {
            return Some(format!("{} is not up", self.seats[*seat].id));
        }
        if self.core_leader().is_none() && !self.is_led(&core) {
            return Some("no leader".into());
        }
        let Some(probe) = &self.probe else {
            let asks = core.iter().flat_map(|seat| [(*seat, Kind::Write), (*seat, Kind::Read)]);
            let script: VecDeque<(usize, Kind)> = asks.collect();
            let client = self.clients.len();
            self.clients.push(Client::default());
            self.probe = Some(Probe { client, script });
            self.wake(client, self.now);
            return Some("new operations".into());
        };
        if let Some((seat, kind)) = probe.script.front() {
            return Some(format!("a new {kind:?} at {}", self.seats[*seat].id));
        }
        self.unsettled(&core).or_else(|| self.unrest(&core))
    }

    /// The last client does not ask who was removed meanwhile.
    fn skip_who_left(&mut self) {
        let members = self.members();
        let Some(probe) = &mut self.probe else { return };
        let (client, before) = (probe.client, probe.script.len());
        probe.script.retain(|(seat, _)| members.contains(seat));
        if probe.script.len() < before {
            self.abandon(client);
        }
    }

    /// What of a membership change has not come to its end.
    fn unsettled(&self, core: &[usize]) -> Option<String> {
        let group = self.oracle.membership();
        if group.is_joint() {
            return Some(format!("the group is still between two memberships: {group}"));
        }
        let works = |node: NodeId| core.contains(&place(node));
        let waits = group.promotions().iter().find(|(learner, promotion)| {
            let aim = promoted(group, [(*learner, *promotion)]);
            works(**learner) && aim.is_some_and(|aim| is_quorum(&aim, works))
        });
        waits.map(|(learner, _)| format!("{learner} keeps up, and is not promoted in {group}"))
    }

    /// Whether all follow one leader, which may be outside the core.
    fn is_led(&self, core: &[usize]) -> bool {
        let leader = |seat: &usize| self.seats[*seat].process()?.raft.state().leader();
        let first = core.first().and_then(leader);
        first.is_some() && core.iter().all(|seat| leader(seat) == first)
    }

    /// What is not equal or not empty among the nodes of the core.
    fn unrest(&self, core: &[usize]) -> Option<String> {
        let mut ends = Vec::new();
        for seat in core {
            let machine = &self.seats[*seat];
            let process = machine.process()?;
            let state = process.raft.state();
            let last = state.log().last();
            let marks = (state.commit_index(), state.last_applied(), state.log().durable());
            if marks != (last.index, last.index, last.index) {
                return Some(format!("{} is at {marks:?}, its log ends at {last}", machine.id));
            }
            let covered = log_covered(state);
            let every = self.swarm.snapshots.entries;
            if every > 0 && last.index.get() / every > covered / every {
                let id = machine.id;
                return Some(format!("a snapshot of {id} is due, the newest covers {covered}"));
            }
            if process.is_capturing || process.fetch.is_some() {
                return Some(format!("a snapshot is under way on {}", machine.id));
            }
            if process.raft.waiting_proposals() > process.forgotten.len() {
                return Some(format!("proposals wait on {}", machine.id));
            }
            if let Some(ticket) = process.queries.keys().next() {
                return Some(format!("read t{ticket} never came back on {}", machine.id));
            }
            if let Some(ticket) = process.open.difference(&process.forgotten).next() {
                return Some(format!("t{ticket} never came back on {}", machine.id));
            }
            ends.push((last, state.current_term(), process.applier.digest()));
        }
        if ends.windows(2).any(|pair| pair[0] != pair[1]) {
            return Some(format!("ends, terms and states differ: {ends:x?}"));
        }
        let leader = self.core_leader()?;
        let status = self.seats[leader].process()?.raft.status();
        let inside = |node: &NodeId| core.contains(&place(*node));
        status.progress.iter().filter(|(node, _)| inside(node)).find_map(|(node, progress)| {
            let behind = progress.match_index != status.last.index;
            (behind || progress.inflight_bytes > 0)
                .then(|| format!("the leader's progress of {node} is {progress:?}"))
        })
    }

    /// The time is up: a bug. Worse, if a committed entry is on no disk of the core.
    fn not_live(&mut self, unmet: &str) -> Check {
        let Some(liveness) = &self.liveness else { return Ok(()) };
        let canonical = self.oracle.canonical_terms();
        let logs = liveness
            .core
            .iter()
            .map(|seat| (self.seats[*seat].id, &self.oracle.images[*seat].log[..]));
        let logs: Vec<(NodeId, &[Term])> = logs.collect();
        // A core is a quorum of undamaged disks, and whatever is committed was durable on a quorum.
        if let Some(index) = Atlas::missing(canonical, &logs) {
            let text = format!("the committed entry {index} is on no disk of the core");
            return Err(Failure::new("durability", text));
        }
        let ids: Vec<NodeId> = liveness.core.iter().map(|seat| self.seats[*seat].id).collect();
        let progress = self.core_leader().and_then(|seat| self.seats[seat].process());
        let progress = progress.map(|process| process.raft.status().progress);
        let text = format!(
            "{ids:?} work, and {TIMEOUTS} of the longest election timeouts were not enough: \
             {unmet}; the progress of followers is {progress:?}"
        );
        Err(Failure::new("liveness", text))
    }
}
