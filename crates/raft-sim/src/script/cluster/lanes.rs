//! The lanes of a node: what they give is done at once, or waits for a command.
//!
//! Snapshots are values here: a state, held by whoever took or fetched it. Read next: `safety.rs`.

use raft_core::{
    Apply, ApplyJob, Base, Capture, HardState, NodeId, Notice, Persist, Restore, Restored,
    SnapshotMeta,
};
use raft_storage::{MemoryStorage, Storage, write};

use super::{Cluster, GROUP, name, short};
use crate::script::command::Lane;
use crate::script::notation;

impl Cluster {
    // The disk.

    /// Finishes the oldest write of a node, if there is one.
    pub(in crate::script) fn persist(&mut self, node: NodeId) -> Result<bool, String> {
        let now = self.now;
        self.running(node)?;
        let seat = self.seat(node)?;
        let Some(persist) = seat.writing.pop_front() else { return Ok(false) };
        let held = restored(&seat.storage)?;
        let line = written(&held, held.hard_state, &persist);
        let is_empty = persist.is_empty();
        self.safety.written(node, &persist)?;
        let seat = self.seat(node)?;
        let batch = write(&mut seat.storage, vec![(GROUP, persist)]);
        let batch = batch.map_err(|error| error.to_string())?;
        let me = short(self.running(node)?);
        if !is_empty {
            self.tell(format!("{me} ⇒ disk {line}"));
        }
        for done in batch {
            self.running(node)?.handle_persisted(now, done.persisted);
            self.send(done.promises)?;
        }
        self.touch(node)?;
        Ok(true)
    }

    // The lanes.

    /// Pulls every lane of a node until it is quiet, then lets safety judge.
    pub(super) fn touch(&mut self, node: NodeId) -> Result<(), String> {
        loop {
            let mut is_quiet = true;
            let raft = self.seats.get(&node).and_then(|seat| seat.raft.as_ref());
            raft.map_or(Ok(()), |raft| self.safety.look(node, raft.state()))?;
            for notice in self.running(node)?.take_notices() {
                is_quiet = false;
                self.notice(node, notice)?;
            }
            let seat = self.seat(node)?;
            let Some(raft) = seat.raft.as_mut() else { return Ok(()) };
            let persist = raft.take_persist();
            let load = raft.take_load();
            let messages = raft.take_messages();
            if let Some(load) = load {
                is_quiet = false;
                let entries = seat.storage.entries(GROUP, load.range(), load.bytes_max());
                let loaded = load.into_loaded(entries.map_err(|error| error.to_string())?);
                let now = self.now;
                self.running(node)?.handle_loaded(now, loaded);
            }
            if let Some(persist) = persist {
                is_quiet = false;
                self.begin_write(node, persist)?;
            }
            is_quiet &= messages.is_empty();
            self.send(messages)?;
            if let Some(fetch) = self.running(node)?.take_fetch() {
                is_quiet = false;
                let me = short(self.running(node)?);
                let (last, from) = (fetch.snapshot().last_included, fetch.from());
                self.tell(format!("{me} fetches the snapshot of {last} from {from}"));
                self.seat(node)?.fetching = Some(fetch);
            }
            is_quiet &= !self.pull_application(node)?;
            if is_quiet {
                let raft = self.seats.get(&node).and_then(|seat| seat.raft.as_ref());
                return raft.map_or(Ok(()), |raft| self.safety.belongs(node, raft.state()));
            }
        }
    }

    /// Jobs for the state machine, which does them at once unless it is held.
    fn pull_application(&mut self, node: NodeId) -> Result<bool, String> {
        let mut is_busy = false;
        while let Some(job) = self.running(node)?.take_apply() {
            is_busy = true;
            let seat = self.seat(node)?;
            seat.applying.push_back(job);
            if !seat.held.contains(&Lane::Apply) {
                self.work(node)?;
            }
        }
        Ok(is_busy)
    }

    fn begin_write(&mut self, node: NodeId, persist: Persist) -> Result<(), String> {
        let raft = self.running(node)?;
        let (me, log) = (short(raft), raft.state().log());
        let mut prev = None;
        if let Some(first) = persist.entries().first() {
            let before = first.id.index.prev();
            let term = log.term_at(before).ok_or("an entry follows nothing")?;
            prev = Some(raft_core::EntryId::new(term, before));
        }
        for entry in persist.entries() {
            self.safety.entry(prev.unwrap_or_default(), entry)?;
            prev = Some(entry.id);
        }
        let seat = self.seat(node)?;
        let mut line = None;
        if seat.held.contains(&Lane::Disk) && !persist.is_empty() {
            let held = restored(&seat.storage)?;
            let before = seat.writing.back().map_or(held.hard_state, Persist::hard_state);
            line = Some(written(&held, before, &persist));
        }
        seat.writing.push_back(persist);
        if let Some(line) = line {
            self.tell(format!("{me} ⇢ disk {line}"));
        }
        Ok(())
    }

    // The application.

    /// Does the oldest job of the state machine; tells whether there was one.
    pub(in crate::script) fn work(&mut self, node: NodeId) -> Result<bool, String> {
        self.running(node)?;
        match self.seat(node)?.applying.pop_front() {
            None => return Ok(false),
            Some(ApplyJob::Apply(apply)) => self.apply(node, apply)?,
            Some(ApplyJob::Restore(restore)) => self.become_snapshot(node, restore)?,
            Some(ApplyJob::Capture(capture)) => self.freeze(node, capture)?,
        }
        Ok(true)
    }

    fn apply(&mut self, node: NodeId, apply: Apply) -> Result<(), String> {
        let (now, me) = (self.now, short(self.running(node)?));
        for entry in apply.entries() {
            self.safety.applies(node, entry)?;
            self.seat(node)?.machine.push(entry.id);
        }
        self.tell(format!("{me} applies {}", notation::list(apply.entries().iter().map(|e| e.id))));
        for (index, ticket) in apply.tickets() {
            self.safety.answered(node, *ticket)?;
            let entry = apply.entries().iter().find(|entry| entry.id.index == *index);
            let entry = entry.ok_or_else(|| format!("t{ticket} is answered without its entry"))?;
            self.tell(format!("{me} answers t{ticket}: {entry:?}"));
        }
        self.running(node)?.handle_applied(now, apply.into_applied());
        Ok(())
    }

    fn become_snapshot(&mut self, node: NodeId, restore: Restore) -> Result<(), String> {
        let (now, me) = (self.now, short(self.running(node)?));
        let snapshot = restore.snapshot();
        let seat = self.seat(node)?;
        let held = seat.snapshots.get(&snapshot.id).ok_or("the snapshot is not published here")?;
        seat.machine = held.1.clone();
        let machine = seat.machine.clone();
        self.safety.restored(node, &machine)?;
        self.tell(format!("{me} becomes the snapshot of {}", snapshot.last_included));
        self.running(node)?.handle_applied(now, restore.into_applied());
        Ok(())
    }

    /// The state as it is now will be a snapshot.
    fn freeze(&mut self, node: NodeId, capture: Capture) -> Result<(), String> {
        let me = short(self.running(node)?);
        let seat = self.seat(node)?;
        if seat.machine.last() != Some(&capture.last_included()) {
            let (asked, is) = (capture.last_included(), seat.machine.last());
            return Err(format!("{node} is to freeze {asked}, but the state is {is:?}"));
        }
        let (state, is_held) = (seat.machine.clone(), seat.held.contains(&Lane::Capture));
        let last = capture.last_included();
        seat.capturing = Some((capture, state));
        if is_held {
            self.tell(format!("{me} begins a snapshot of {last}"));
            return Ok(());
        }
        self.captured(node, true)
    }

    /// The snapshot that is being written is published, or cannot be.
    pub(in crate::script) fn captured(&mut self, node: NodeId, works: bool) -> Result<(), String> {
        let now = self.now;
        self.running(node)?;
        let seat = self.seat(node)?;
        let (capture, state) = seat.capturing.take().ok_or("no snapshot is being written")?;
        let receipt = if works {
            let last_included = capture.last_included();
            let id = notation::snapshot_id(last_included);
            let (membership, data_bytes) = (capture.membership().clone(), state.len() as u64);
            let snapshot = SnapshotMeta { id, last_included, membership, data_bytes };
            seat.snapshots.insert(id, (snapshot.clone(), state));
            capture.into_captured(snapshot)
        } else {
            capture.into_failed()
        };
        self.running(node)?.handle_captured(now, receipt);
        self.touch(node)
    }

    /// The snapshot that is being fetched is here, or cannot be had.
    pub(in crate::script) fn fetched(&mut self, node: NodeId, works: bool) -> Result<(), String> {
        let now = self.now;
        let me = short(self.running(node)?);
        let fetch = self.seat(node)?.fetching.take().ok_or("nothing is being fetched")?;
        let (from, last) = (fetch.from(), fetch.snapshot().last_included);
        let source =
            self.seats.get(&from).and_then(|seat| seat.snapshots.get(&fetch.snapshot().id));
        let receipt = if let Some((snapshot, state)) = source.filter(|_| works).cloned() {
            self.tell(format!("{me} has fetched the snapshot of {last} from {from}"));
            self.seat(node)?.snapshots.insert(snapshot.id, (snapshot, state));
            fetch.into_fetched()
        } else {
            self.tell(format!("{me} cannot fetch the snapshot of {last} from {from}"));
            fetch.into_failed()
        };
        self.running(node)?.handle_fetched(now, receipt);
        self.touch(node)
    }

    // Notices.

    fn notice(&mut self, node: NodeId, notice: Notice) -> Result<(), String> {
        let raft = self.running(node)?;
        let (me, now) = (short(raft), name(raft));
        match notice {
            Notice::RoleChanged { .. } => {
                let seat = self.seat(node)?;
                let before = std::mem::replace(&mut seat.told, now.clone());
                if before != now {
                    self.tell(format!("{before} ⇨ {now}"));
                }
            }
            Notice::ReadReady { ticket, index, age } => {
                self.safety.answered(node, ticket)?;
                let applied = self.running(node)?.state().last_applied();
                let wait = if applied < index { ", once that is applied" } else { "" };
                let old = if age.is_zero() { String::new() } else { format!(", {age:?} old") };
                self.tell(format!("{me} may read for t{ticket} at {index}{wait}{old}"));
            }
            Notice::ReadFailed { ticket, error } => {
                self.safety.answered(node, ticket)?;
                self.tell(format!("{me} gives up t{ticket}, a read: {error}"));
            }
            Notice::Dropped { ticket } => {
                self.safety.answered(node, ticket)?;
                self.tell(format!("{me} drops t{ticket}: its outcome is unknown"));
            }
            Notice::Refused { ticket, reason } => {
                self.safety.answered(node, ticket)?;
                let reason = notation::refusal(reason);
                self.tell(format!("{me} refuses t{ticket}: not applied ({reason})"));
            }
            Notice::MembershipChanged { membership } => {
                self.tell(format!("{me} members {}", notation::membership(&membership)));
            }
            Notice::MembershipCommitted { membership } => {
                self.tell(format!("{me} members {} are committed", membership.id()));
            }
            Notice::RosterChanged => {
                let roster = self.running(node)?.roster();
                let nodes: Vec<String> = roster.keys().map(ToString::to_string).collect();
                self.tell(format!("{me} reaches {}", nodes.join(" ")));
            }
            Notice::TransferFailed { to } => {
                self.tell(format!("{me} gives up to hand over to {to}"));
            }
            Notice::DiskStalled => self.tell(format!("{me} leads no more: its disk stalls")),
            Notice::SnapshotTaken { snapshot } => {
                self.tell(format!("{me} has a snapshot of {}", snapshot.last_included));
            }
            Notice::SnapshotFailed => self.tell(format!("{me} could take no snapshot")),
            Notice::PeerRefused { peer, reason } => {
                self.tell(format!("{me} refuses to hear {}: {reason:?}", peer.node));
            }
            Notice::Violation(violation) => self.tell(format!("{me} accuses: {violation:?}")),
        }
        Ok(())
    }
}

fn restored(storage: &MemoryStorage) -> Result<Restored, String> {
    storage.clone().restore(GROUP).map_err(|error| error.to_string())
}

/// What a write changes, given what the disk holds, and term and vote as written before it.
fn written(held: &Restored, before: HardState, persist: &Persist) -> String {
    let mut parts = Vec::new();
    let after = persist.hard_state();
    if after.term != before.term {
        parts.push(format!("term={}", after.term));
    }
    if (after.term, after.voted_for) != (before.term, before.voted_for)
        && let Some(vote) = after.voted_for
    {
        parts.push(format!("vote={vote}"));
    }
    match persist.base() {
        None => {}
        Some(Base::Created(_)) => parts.push("members".into()),
        Some(Base::Compacted { snapshot, upto }) => {
            let last = snapshot.last_included;
            parts.push(format!("snapshot of {last}, the log begins after {upto}"));
        }
        Some(Base::Installed(snapshot)) => {
            let last = snapshot.last_included;
            parts.push(format!("snapshot of {last} instead of the log"));
        }
    }
    if let Some(first) = persist.entries().first() {
        parts.push(notation::list(persist.entries().iter().map(|entry| entry.id)));
        if first.id.index <= held.last.index {
            parts.push(format!("instead of all from {} on", first.id.index));
        }
    }
    parts.join(" ")
}
