//! Clients: one operation at a time each, tried again where that is safe, given up after a while.
//!
//! * An operation that a node calls *not applied* is tried again, there or elsewhere.
//! * After anything else the outcome of a write is unknown, and it is not tried again.
//! * Every ticket comes back once, or never after its process ended or its caller gave up.
//!
//! Read next: `liveness.rs`.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use raft_core::{Consistency, Index, NodeId, Payload, Proposed, Ticket};
use raft_storage::Answer;

use super::{Event, World};
use crate::choice::Site;
use crate::history::{End, Kind};
use crate::network::place;
use crate::oracle::{Check, Failure};
use crate::trace::What;
use crate::workload::Request;

const MICROS: u64 = 1_000;
const MILLIS: u64 = 1_000_000;
const SECONDS: u64 = 1_000_000_000;

/// Somebody who asks.
#[derive(Debug, Default)]
pub(crate) struct Client {
    /// Where it asks by habit.
    seat: usize,
    /// When it acts next.
    due: Option<u64>,
    current: Option<Current>,
}

/// The operation of a client.
#[derive(Debug)]
struct Current {
    number: usize,
    kind: Kind,
    input: Bytes,
    /// How fresh the answer has to be.
    consistency: Consistency,
    /// The attempt under way.
    ticket: Option<Ticket>,
    /// Where it is under way: seat and life.
    at: (usize, u64),
}

/// A read that may be answered from an older state.
#[derive(Clone, Debug)]
pub(crate) struct OldRead {
    pub(crate) node: NodeId,
    pub(crate) index: Index,
    pub(crate) query: Bytes,
    pub(crate) answer: Bytes,
}

/// The last client: it asks every node of the core, until all have answered.
#[derive(Debug)]
pub(crate) struct Probe {
    pub(crate) client: usize,
    /// Whom it still has to ask, and for what.
    pub(crate) script: VecDeque<(usize, Kind)>,
}

impl World {
    pub(super) fn open_clients(&mut self) {
        for client in 0..usize::try_from(self.swarm.clients).unwrap_or(1) {
            let seat = self.some_seat();
            self.clients.push(Client { seat, due: None, current: None });
            let at = self.some_time(self.swarm.think_ns);
            self.wake(client, at);
        }
    }

    /// A client acts at this moment, and not at any other that was planned.
    pub(super) fn wake(&mut self, client: usize, at: u64) {
        self.clients[client].due = Some(at);
        self.push(at, Event::Client { client, at });
    }

    fn some_seat(&self) -> usize {
        let seats: Vec<usize> = match &self.liveness {
            Some(liveness) if !liveness.core.is_empty() => liveness.core.clone(),
            Some(_) | None => (0..self.seats.len()).collect(),
        };
        *self.choices.pick(Site::Client, &seats)
    }

    /// Whether no client waits for anything.
    pub(super) fn clients_rest(&self) -> bool {
        self.clients.iter().all(|client| client.current.is_none())
    }

    /// A client acts: it begins an operation, or tries the present one again.
    pub(super) fn client(&mut self, client: usize, at: u64) {
        if self.clients[client].due != Some(at) {
            return;
        }
        self.clients[client].due = None;
        // An attempt under way is not doubled: two at once could both take effect.
        let acts = match &self.clients[client].current {
            Some(current) => current.ticket.is_none(),
            None => self.begin_operation(client),
        };
        if !acts {
            return;
        }
        self.tickets += 1;
        let ticket = Ticket::new(self.tickets);
        let moves = self.choices.chance(Site::Client, 300_000);
        if moves && !self.is_probe(client) {
            self.clients[client].seat = self.some_seat();
        }
        let seat = self.seat_for(client);
        let Some(current) = &mut self.clients[client].current else { return };
        current.ticket = Some(ticket);
        self.attempts.insert(ticket, current.number);
        self.push(self.now + 20 * MICROS, Event::Ask { client, ticket, seat });
    }

    fn is_probe(&self, client: usize) -> bool {
        self.probe.as_ref().is_some_and(|probe| probe.client == client)
    }

    /// Where this client asks now. Without forwarding, only leaders take what a probe writes; the
    /// leader may be a bystander.
    fn seat_for(&self, client: usize) -> usize {
        let Some(probe) = self.probe.as_ref().filter(|probe| probe.client == client) else {
            return self.clients[client].seat;
        };
        let (seat, kind) = *probe.script.front().expect("a probe that acts has something to ask");
        if self.swarm.forwarding || kind == Kind::Read {
            return seat;
        }
        let known = self.seats[seat].process().and_then(|process| process.raft.state().leader());
        self.core_leader().or_else(|| known.map(place)).unwrap_or(seat)
    }

    fn begin_operation(&mut self, client: usize) -> bool {
        self.operations += 1;
        let request = if let Some(probe) = self.probe.as_ref().filter(|p| p.client == client) {
            let Some((_, kind)) = probe.script.front() else { return false };
            let (command, query) = self.ingredients.workload.probe(self.operations);
            match kind {
                Kind::Write => Request::Write(command),
                Kind::Read => Request::Read(query),
            }
        } else {
            if self.liveness.is_some() {
                return false;
            }
            let number = self.operations;
            let who = u32::try_from(client).unwrap_or(u32::MAX);
            self.ingredients.workload.next(&self.choices, who, number)
        };
        let (kind, input) = match request {
            Request::Write(command) => (Kind::Write, command),
            Request::Read(query) => (Kind::Read, query),
        };
        let who = u32::try_from(client).unwrap_or(u32::MAX);
        let node = self.seats[self.seat_for(client)].id;
        let number = self.history.invoke(self.step, who, node, kind, input.clone());
        let consistency = self.draw_consistency(client);
        let at = (usize::MAX, 0);
        let current = Current { number, kind, input, consistency, ticket: None, at };
        self.clients[client].current = Some(current);
        let at = self.now + self.swarm.patience_ns;
        self.push(at, Event::GiveUp { client, operation: number });
        true
    }

    fn draw_consistency(&self, client: usize) -> Consistency {
        let leases = self.swarm.lease_drift_ppm.is_some();
        if self.swarm.age_max_ns > 0
            && !self.is_probe(client)
            && self.choices.chance(Site::Members, 300_000)
        {
            let age_max = Duration::from_nanos(self.swarm.age_max_ns);
            return Consistency::Bounded { age_max };
        }
        if leases && self.choices.chance(Site::Members, 700_000) {
            return Consistency::Lease;
        }
        Consistency::Linearizable
    }

    /// A question reaches a machine.
    pub(super) fn ask(&mut self, client: usize, ticket: Ticket, seat: usize) -> Check {
        let now = self.seats[seat].clock.at(self.now);
        let life = self.seats[seat].life;
        let Some(current) = &mut self.clients[client].current else { return Ok(()) };
        if current.ticket != Some(ticket) {
            return Ok(());
        }
        let Some(process) = self.seats[seat].process_mut() else {
            // Nobody listens there: certainly not applied.
            self.try_again(client);
            return Ok(());
        };
        current.at = (seat, life);
        let (kind, input, number) = (current.kind, current.input.clone(), current.number);
        let accepted = match kind {
            Kind::Write => match process.raft.propose(now, Payload::command(input), ticket) {
                Ok(Proposed::Appended(id)) => {
                    self.oracle.appended(id, ticket);
                    true
                }
                Ok(Proposed::Forwarded(_)) => true,
                Err(_) => false,
            },
            Kind::Read => {
                let is_bounded = matches!(current.consistency, Consistency::Bounded { .. });
                let accepted = process.raft.read(now, current.consistency, ticket).is_ok();
                if accepted {
                    process.queries.insert(ticket, input);
                    if is_bounded {
                        process.bounded.insert(ticket);
                    }
                    self.oracle.asks(ticket, process.raft.state());
                }
                accepted
            }
        };
        let node = self.seats[seat].id;
        if self.trace.is_some() {
            let what = self.history.operations()[number].to_string();
            self.tell(|| What::Client { node, text: format!("asks: t{ticket} {what}") });
        }
        if accepted {
            let process = self.seats[seat].process_mut().expect("it listens");
            process.open.insert(ticket);
        } else {
            self.oracle.denied(node, ticket)?;
            self.try_again(client);
        }
        self.touched(seat)
    }

    /// Whose attempt a ticket is, if that client still waits for it.
    fn waits_for(&self, ticket: Ticket) -> Option<usize> {
        self.clients.iter().position(|client| {
            client.current.as_ref().is_some_and(|current| current.ticket == Some(ticket))
        })
    }

    /// A ticket comes back to a process. Once only.
    fn comes_back(&mut self, seat: usize, ticket: Ticket) -> Check {
        let machine = &mut self.seats[seat];
        let node = machine.id;
        let Some(process) = machine.process_mut() else { return Ok(()) };
        process.queries.remove(&ticket);
        process.bounded.remove(&ticket);
        if process.open.remove(&ticket) {
            return Ok(());
        }
        let text = format!("t{ticket} comes back on {node}, where nobody waits for it");
        Err(Failure::of("answers", node, text))
    }

    /// A client is answered.
    pub(super) fn answer(&mut self, seat: usize, answer: &Answer) -> Check {
        self.comes_back(seat, answer.ticket)?;
        let node = self.seats[seat].id;
        self.tell(|| What::Client {
            node,
            text: format!("answers t{} at {}: {:?}", answer.ticket, answer.id, answer.bytes),
        });
        self.wish_came_true(node, answer)?;
        let Some(client) = self.waits_for(answer.ticket) else { return Ok(()) };
        let current = self.clients[client].current.take().expect("it waits");
        let (returned, index, bytes) = (self.step, answer.id.index, answer.bytes.clone());
        if let Consistency::Bounded { .. } = current.consistency
            && current.kind == Kind::Read
        {
            // It is not linearizable, and stays open in the history: that says nothing.
            let query = current.input;
            self.old_reads.push(OldRead { node, index, query, answer: bytes });
        } else {
            self.history.end(current.number, End::Answered { returned, index, answer: bytes });
        }
        self.feed(index.get());
        if self.is_probe(client)
            && let Some(probe) = &mut self.probe
        {
            probe.script.pop_front();
        }
        self.think(client);
        Ok(())
    }

    /// A node says that an attempt was not applied and never will be.
    pub(super) fn refused(&mut self, seat: usize, ticket: Ticket) -> Check {
        self.comes_back(seat, ticket)?;
        if let Some(client) = self.waits_for(ticket) {
            self.try_again(client);
        }
        Ok(())
    }

    /// A node says that it does not know what becomes of an attempt.
    pub(super) fn dropped(&mut self, seat: usize, ticket: Ticket) -> Check {
        self.comes_back(seat, ticket)?;
        if let Some(client) = self.waits_for(ticket) {
            self.clients[client].current = None;
            self.think(client);
        }
        Ok(())
    }

    /// A process died with these questions.
    pub(super) fn orphaned(&mut self, tickets: Vec<Ticket>) {
        for ticket in tickets {
            let Some(client) = self.waits_for(ticket) else { continue };
            match &mut self.clients[client].current {
                // A read changes nothing: it may be asked again.
                Some(current) if current.kind == Kind::Read => current.ticket = None,
                current => *current = None,
            }
            self.think(client);
        }
    }

    /// A client tries again a little later.
    fn try_again(&mut self, client: usize) {
        if let Some(current) = &mut self.clients[client].current {
            current.ticket = None;
        }
        let at = self.now + self.choices.between(Site::Client, 5 * MILLIS, 200 * MILLIS);
        self.wake(client, at);
    }

    /// A client does something else before its next operation.
    fn think(&mut self, client: usize) {
        let long = self.choices.chance(Site::Client, 3_000);
        let think_ns = if long { 20 * SECONDS } else { self.swarm.think_ns };
        let at = if self.liveness.is_some() {
            self.now + MILLIS
        } else {
            self.now + self.choices.between(Site::Client, think_ns / 8, 2 * think_ns)
        };
        self.wake(client, at);
    }

    /// A client waited long enough.
    pub(super) fn give_up(&mut self, client: usize, operation: usize) {
        let Some(current) = self.clients[client].current.take_if(|c| c.number == operation) else {
            return;
        };
        match current.ticket {
            // Every attempt so far was refused.
            None => self.history.end(operation, End::NotApplied { returned: self.step }),
            Some(ticket) => self.forget(current.at, ticket),
        }
        self.think(client);
    }

    /// A client gives up at once, and goes on with what is next.
    pub(super) fn abandon(&mut self, client: usize) {
        if let Some(current) = &self.clients[client].current {
            self.give_up(client, current.number);
        } else {
            self.wake(client, self.now);
        }
    }

    /// The host is told that nobody waits any more.
    fn forget(&mut self, (seat, life): (usize, u64), ticket: Ticket) {
        let Some(machine) = self.seats.get_mut(seat).filter(|machine| machine.life == life) else {
            return;
        };
        if let Some(process) = machine.process_mut() {
            process.raft.forget(ticket);
            process.forgotten.insert(ticket);
        }
    }
}
