//! An operator: adds and removes members, hands leadership over, exchanges machines.
//!
//! * It looks at the membership of the node it asks, as people do, and is wrong now and then.
//! * A change that is answered has come about: what was asked is what the log says (the oracle
//!   *membership change*).
//! * It stops when the storm does. What it began has to come to an end by itself.
//!
//! Read next: `liveness.rs`.

use raft_core::{Change, ChangeRequest, Membership, NodeId, Promotion, Role, Ticket};
use raft_storage::Answer;

use super::{Event, World};
use crate::choice::Site;
use crate::coverage::Fault;
use crate::network::place;
use crate::oracle::{Check, Failure};
use crate::trace::What;

/// A change that an operator waits for.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) ticket: Ticket,
    changes: Vec<Change>,
}

/// Wishes that are remembered: older ones are of no interest any more.
const WISHES_MAX: usize = 64;

/// What an operator does.
#[derive(Clone, Copy)]
enum Act {
    Change,
    Transfer,
    Boot,
    Replace,
}

impl World {
    pub(super) fn open_operator(&mut self) {
        if self.swarm.operator_ns > 0 {
            let at = self.some_time(self.swarm.operator_ns);
            self.push(at, Event::Operate);
        }
    }

    /// The operator does something, and plans the next.
    pub(super) fn operate(&mut self) -> Check {
        if self.liveness.is_some() {
            return Ok(());
        }
        let at = self.some_time(self.swarm.operator_ns);
        self.push(at, Event::Operate);
        let acts = [Act::Change, Act::Change, Act::Change, Act::Transfer, Act::Boot, Act::Replace];
        let act = *self.choices.pick(Site::Operator, &acts);
        let seat = self.asked_by_operator();
        match act {
            Act::Change => self.change(seat),
            Act::Transfer => self.hand_over(seat).map(|_| ()),
            Act::Boot => {
                self.boot();
                Ok(())
            }
            Act::Replace => self.readmit(seat),
        }
    }

    /// Mostly whoever leads.
    fn asked_by_operator(&self) -> usize {
        let leads = |seat: &usize| {
            let process = self.seats[*seat].process();
            process.is_some_and(|process| matches!(process.raft.state().role(), Role::Leader(_)))
        };
        let any = self.choices.choose(Site::Operator, self.seats.len() as u64);
        let any = usize::try_from(any).expect("a small number");
        let leaders = (0..self.seats.len()).filter(leads);
        let newest = leaders.max_by_key(|seat| {
            self.seats[*seat].process().map(|process| process.raft.state().current_term())
        });
        newest.filter(|_| !self.choices.chance(Site::Operator, 200_000)).unwrap_or(any)
    }

    /// A machine that belongs to nobody is switched on, before or after it is added.
    fn boot(&mut self) {
        let spare = (0..self.seats.len()).filter(|seat| self.seats[*seat].joins);
        let spare: Vec<usize> = spare.filter(|seat| self.seats[*seat].is_down()).collect();
        if !spare.is_empty() {
            let seat = *self.choices.pick(Site::Operator, &spare);
            self.start_later(seat);
        }
    }

    // Changes.

    /// Asks a node for a change of the membership that it shows.
    fn change(&mut self, seat: usize) -> Check {
        let Some(process) = self.seats[seat].process() else { return Ok(()) };
        let present = process.raft.state().membership().clone();
        if present.is_empty() {
            return Ok(());
        }
        let count = *self.choices.pick(Site::Operator, &[1, 1, 1, 2, 2, 3]);
        let changes: Vec<Change> = (0..count).filter_map(|_| self.draw_change(&present)).collect();
        self.ask_for(seat, &present, changes)
    }

    /// The same, as a fault that was aimed at this node.
    pub(crate) fn change_at(&mut self, seat: usize) -> Result<bool, Failure> {
        let before = self.wishes.last().map(|wish| wish.ticket);
        self.change(seat)?;
        Ok(self.wishes.last().map(|wish| wish.ticket) != before)
    }

    /// Takes a wiped member back, with the disk that it has now.
    fn readmit(&mut self, seat: usize) -> Check {
        let Some(process) = self.seats[seat].process() else { return Ok(()) };
        let present = process.raft.state().membership().clone();
        let strangers = present.members().iter().filter_map(|(node, member)| {
            let incarnation = self.seats.get(place(*node))?.incarnation?;
            let is_other = member.incarnation.is_some_and(|recorded| recorded != incarnation);
            is_other.then_some(Change::Readmit { node: *node, incarnation })
        });
        let strangers: Vec<Change> = strangers.collect();
        if strangers.is_empty() {
            return self.change(seat);
        }
        let change = self.choices.pick(Site::Operator, &strangers).clone();
        self.ask_for(seat, &present, vec![change])
    }

    fn ask_for(&mut self, seat: usize, present: &Membership, changes: Vec<Change>) -> Check {
        if changes.is_empty() {
            return Ok(());
        }
        let mut request = ChangeRequest::new(changes);
        if self.choices.chance(Site::Operator, 300_000) {
            request = request.with_expected(present.id());
        }
        if self.choices.chance(Site::Operator, 50_000) {
            request = request.with_availability_at_risk();
        }
        self.tickets += 1;
        let ticket = Ticket::new(self.tickets);
        let now = self.seats[seat].clock.at(self.now);
        let phases = self.phases(seat);
        let Some(process) = self.seats[seat].process_mut() else { return Ok(()) };
        let outcome = process.raft.change_membership(now, &request, ticket);
        let node = self.seats[seat].id;
        let text = match &outcome {
            Ok(id) => format!("is asked for {:?}: t{ticket}, entry {id}", request.changes),
            Err(error) => format!("is asked for {:?}: {error}", request.changes),
        };
        self.feed(0x0c << 32 | u64::from(outcome.is_ok()));
        self.tell(|| What::Client { node, text });
        if outcome.is_ok() {
            self.coverage.hit(Fault::Change, phases);
            let process = self.seats[seat].process_mut().expect("it answered");
            process.open.insert(ticket);
            if self.wishes.len() == WISHES_MAX {
                self.wishes.remove(0);
            }
            self.wishes.push(Wish { ticket, changes: request.changes.clone() });
            self.add_machines(&request.changes);
        }
        self.touched(seat)
    }

    /// Whoever is added is switched on, mostly soon.
    fn add_machines(&mut self, changes: &[Change]) {
        for change in changes {
            let Change::AddLearner { node, .. } = change else { continue };
            let seat = place(*node);
            if self.seats[seat].is_down() && !self.seats[seat].is_out {
                self.start_later(seat);
            }
        }
    }

    fn draw_change(&self, present: &Membership) -> Option<Change> {
        let members: Vec<NodeId> = present.members().keys().copied().collect();
        let voters: Vec<NodeId> = present.voters().iter().copied().collect();
        let learners: Vec<NodeId> = present.learners().collect();
        let fits = |seat: &&crate::seat::Seat| {
            let is_free = !present.members().contains_key(&seat.id) && !seat.is_out;
            // An id belongs to one disk for ever, but where a member is readmitted.
            is_free && !self.was_replaced(seat.id) && !self.atlas.is_damaged(seat.id)
        };
        let free: Vec<NodeId> = self.seats.iter().filter(fits).map(|seat| seat.id).collect();
        let pick = |nodes: &[NodeId]| {
            (!nodes.is_empty()).then(|| *self.choices.pick(Site::Operator, nodes))
        };
        match self.choices.choose(Site::Operator, 10) {
            0..=3 => pick(&free).map(|node| {
                let promotion = match self.choices.choose(Site::Operator, 3) {
                    0 => Promotion::Automatic,
                    1 => Promotion::Manual,
                    _ => pick(&members).map_or(Promotion::Automatic, Promotion::Replaces),
                };
                Change::AddLearner { node, address: "somewhere".into(), promotion }
            }),
            4 | 5 => pick(&learners).map(|node| Change::Promote { node }),
            6 => pick(&voters).map(|node| Change::Demote { node }),
            7 | 8 => pick(&members).map(|node| Change::Remove { node }),
            _ => pick(&members)
                .map(|node| Change::UpdateAddress { node, address: "elsewhere".into() }),
        }
    }

    /// Whether another disk once had this id.
    pub(crate) fn was_replaced(&self, node: NodeId) -> bool {
        self.seats[place(node)].was_replaced
    }

    // Leadership.

    /// Asks a node to hand leadership over: to whoever is best, or to any, also one that is dead or
    /// has no vote.
    pub(crate) fn hand_over(&mut self, seat: usize) -> Result<bool, Failure> {
        let ids: Vec<NodeId> = self.seats.iter().map(|seat| seat.id).collect();
        let to = self
            .choices
            .chance(Site::Operator, 600_000)
            .then(|| *self.choices.pick(Site::Operator, &ids));
        let now = self.seats[seat].clock.at(self.now);
        let phases = self.phases(seat);
        let Some(process) = self.seats[seat].process_mut() else { return Ok(false) };
        let begun = process.raft.transfer_leadership(now, to);
        let node = self.seats[seat].id;
        self.feed(0x0d << 32 | u64::from(begun.is_ok()));
        let text = match &begun {
            Ok(to) => format!("is asked to hand over, and does to {to}"),
            Err(error) => format!("is asked to hand over to {to:?}: {error}"),
        };
        self.tell(|| What::Client { node, text });
        if let Ok(to) = begun {
            self.coverage.hit(Fault::Transfer, phases);
            self.seats[seat].is_transferring = true;
            let process = self.seats[seat].process().expect("it answered");
            let may_lead = process.raft.state().membership().voters().contains(&to);
            if !may_lead {
                let text = format!("{node} hands over to {to}, which has no vote");
                return Err(Failure::of("membership", node, text));
            }
        }
        self.touched(seat)?;
        Ok(begun.is_ok())
    }

    /// A change is answered: it came about.
    pub(super) fn wish_came_true(&mut self, node: NodeId, answer: &Answer) -> Check {
        let Some(at) = self.wishes.iter().position(|wish| wish.ticket == answer.ticket) else {
            return Ok(());
        };
        let wish = self.wishes.remove(at);
        let committed = self.oracle.membership_at(answer.id.index);
        let is_so = |change: &Change| {
            let node = change.node();
            let member = committed.members().get(&node);
            match change {
                Change::AddLearner { .. } => member.is_some(),
                // Whoever is promoted in the same step may replace it.
                Change::UpdateAddress { .. } => true,
                // One that is promoted with it may take its place.
                Change::Promote { .. } if member.is_none() => wish.changes.len() > 1,
                Change::Promote { .. } => committed.voters().contains(&node),
                Change::Demote { .. } => !committed.voters().contains(&node),
                Change::Remove { .. } => member.is_none(),
                Change::Readmit { incarnation, .. } => {
                    member.is_some_and(|member| member.incarnation == Some(*incarnation))
                }
            }
        };
        if !committed.is_joint() && wish.changes.iter().all(is_so) {
            return Ok(());
        }
        let text = format!("{node} says that {:?} came about, and it is {committed}", wish.changes);
        Err(Failure::of("membership change", node, text))
    }
}
