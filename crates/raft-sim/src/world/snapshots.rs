//! Snapshots: built and received on the disk of a machine, one job after the other, and carried
//! over the network chunk by chunk.
//!
//! What carries them is the host's business, so this is the world's own way: a question for a
//! chunk and its answer each take the time of a message, are lost where a link is cut, and end the
//! fetch if they do not come. Read next: `lanes.rs`, whose disk lane does the jobs.

use std::sync::Arc;

use raft_core::{
    Capture, Chunk, ChunkSink, ChunkStore, NodeId, Restore, SnapshotError, SnapshotId,
    SnapshotSource,
};

use super::lanes::GROUP;
use super::{Event, World};
use crate::network::place;
use crate::oracle::{Check, Failure};
use crate::seat::{DiskJob, DiskWork, Fetching, SnapshotJob, SnapshotWork};

/// A question for a chunk, or its answer.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    /// Who fetches, in which life, and its number there.
    pub(crate) by: usize,
    pub(crate) life: u64,
    pub(crate) fetch: u64,
    /// Who is asked.
    pub(crate) at: NodeId,
    pub(crate) id: SnapshotId,
    pub(crate) chunk: u32,
}

impl World {
    /// A snapshot that was offered is to be fetched.
    pub(super) fn pull_fetch(&mut self, seat: usize) -> bool {
        let Some(process) = self.seats[seat].process_mut() else { return false };
        let Some(fetch) = process.raft.take_fetch() else { return false };
        process.disk_queue.push_back(DiskJob::Snapshot(SnapshotJob::Receive(fetch)));
        self.begin_disk_work(seat);
        true
    }

    /// A job of the disk that is about snapshots. Its result is told when its time has come.
    pub(super) fn work_on_snapshot(&mut self, seat: usize, job: SnapshotJob) -> DiskWork {
        let process = self.seats[seat].process_mut().expect("it asked for the work");
        let manager = Arc::clone(&process.snapshots);
        DiskWork::Snapshot(match job {
            SnapshotJob::Build(capture, mut source) => {
                match manager.build(GROUP, &capture, &mut *source) {
                    Ok(snapshot) => {
                        SnapshotWork::Captured(Box::new(capture.into_captured(snapshot)))
                    }
                    Err(_) => SnapshotWork::Captured(Box::new(capture.into_failed())),
                }
            }
            SnapshotJob::Receive(fetch) => {
                SnapshotWork::Opened(Box::new(manager.receive(GROUP, fetch.snapshot())), fetch)
            }
            SnapshotJob::Accept(chunk) => {
                let receiver = process.fetch.as_mut().map(|fetching| &mut fetching.receiver);
                let accepted = receiver.is_none_or(|receiver| receiver.accept(chunk).is_ok());
                SnapshotWork::Accepted(accepted)
            }
            SnapshotJob::Finish => {
                let fetching = process.fetch.take();
                let fetched = fetching.map(|Fetching { fetch, receiver, .. }| {
                    if receiver.finish().is_ok() {
                        fetch.into_fetched()
                    } else {
                        fetch.into_failed()
                    }
                });
                SnapshotWork::Fetched(fetched.map(Box::new))
            }
            SnapshotJob::Serve(ask) => {
                SnapshotWork::Served(manager.chunk(GROUP, ask.id, ask.chunk), ask)
            }
        })
    }

    pub(super) fn snapshot_work_done(&mut self, seat: usize, work: SnapshotWork) -> Check {
        match work {
            SnapshotWork::Captured(captured) => {
                if let Some(process) = self.seats[seat].process_mut() {
                    process.is_capturing = false;
                }
                self.with_raft(seat, |raft, now| raft.handle_captured(now, *captured))
            }
            SnapshotWork::Opened(opened, fetch) => {
                let Ok(receiver) = *opened else {
                    let failed = fetch.into_failed();
                    return self.with_raft(seat, |raft, now| raft.handle_fetched(now, failed));
                };
                self.tickets += 1;
                let number = self.tickets;
                let Some(process) = self.seats[seat].process_mut() else { return Ok(()) };
                process.fetch = Some(Fetching { number, asked: 0, fetch, receiver });
                self.ask_for_chunk(seat);
                Ok(())
            }
            SnapshotWork::Accepted(true) => {
                self.ask_for_chunk(seat);
                Ok(())
            }
            SnapshotWork::Accepted(false) => self.fetch_breaks(seat),
            SnapshotWork::Fetched(Some(fetched)) => {
                self.with_raft(seat, |raft, now| raft.handle_fetched(now, *fetched))
            }
            SnapshotWork::Fetched(None) => Ok(()),
            SnapshotWork::Served(chunk, ask) => {
                self.answer_chunk(chunk.ok(), ask);
                Ok(())
            }
        }
    }

    /// Asks for the first chunk that is missing, or publishes what is whole.
    fn ask_for_chunk(&mut self, seat: usize) {
        let (by, life, from) = (seat, self.seats[seat].life, self.seats[seat].id);
        let Some(process) = self.seats[seat].process_mut() else { return };
        let Some(fetching) = &mut process.fetch else { return };
        let Some(chunk) = fetching.receiver.wanted() else {
            process.disk_queue.push_back(DiskJob::Snapshot(SnapshotJob::Finish));
            self.begin_disk_work(seat);
            return;
        };
        fetching.asked += 1;
        let (fetch, asked) = (fetching.number, fetching.asked);
        let (at, id) = (fetching.fetch.from(), fetching.fetch.snapshot().id);
        let ask = Ask { by, life, fetch, at, id, chunk };
        if let Some(arrives) = self.network.travel(self.now, (from, at), &self.choices) {
            self.push(arrives, Event::ChunkAsked(ask));
        }
        let until = self.now + 2 * self.swarm.election_max_ns();
        self.push(until, Event::ChunkLate { seat, life, fetch, asked });
    }

    /// A peer is asked for a chunk: its disk reads it.
    pub(super) fn chunk_asked(&mut self, ask: Ask) {
        let seat = place(ask.at);
        if let Some(process) = self.seats[seat].process_mut() {
            process.disk_queue.push_back(DiskJob::Snapshot(SnapshotJob::Serve(ask)));
            self.begin_disk_work(seat);
        }
    }

    fn answer_chunk(&mut self, chunk: Option<Chunk>, ask: Ask) {
        let to = self.seats[ask.by].id;
        if let Some(arrives) = self.network.travel(self.now, (ask.at, to), &self.choices) {
            self.push(arrives, Event::ChunkHere { ask, chunk });
        }
    }

    /// A chunk arrives, or the word that there is none.
    pub(super) fn chunk_here(&mut self, ask: &Ask, chunk: Option<Chunk>) -> Check {
        let seat = ask.by;
        if self.seats[seat].life != ask.life {
            return Ok(());
        }
        let Some(process) = self.seats[seat].process_mut() else { return Ok(()) };
        if process.fetch.as_ref().is_none_or(|fetching| fetching.number != ask.fetch) {
            return Ok(());
        }
        let Some(chunk) = chunk else { return self.fetch_breaks(seat) };
        process.disk_queue.push_back(DiskJob::Snapshot(SnapshotJob::Accept(chunk)));
        self.begin_disk_work(seat);
        Ok(())
    }

    /// Nothing came of a question: the connection is given up.
    pub(super) fn chunk_late(&mut self, seat: usize, life: u64, fetch: u64, asked: u64) -> Check {
        if self.seats[seat].life != life {
            return Ok(());
        }
        let fetching = self.seats[seat].process().and_then(|process| process.fetch.as_ref());
        let is_late = fetching.is_some_and(|now| (now.number, now.asked) == (fetch, asked));
        if is_late { self.fetch_breaks(seat) } else { Ok(()) }
    }

    fn fetch_breaks(&mut self, seat: usize) -> Check {
        let Some(process) = self.seats[seat].process_mut() else { return Ok(()) };
        let Some(Fetching { fetch, .. }) = process.fetch.take() else { return Ok(()) };
        self.with_raft(seat, |raft, now| raft.handle_fetched(now, fetch.into_failed()))
    }

    // The application lane.

    /// Freezes the state machine; the disk writes what it was.
    pub(super) fn capture(&mut self, seat: usize, capture: Capture) -> Check {
        let id = self.seats[seat].id;
        let Some(process) = self.seats[seat].process_mut() else { return Ok(()) };
        let source = process
            .applier
            .capture(&capture)
            .map_err(|halt| Failure::of("state machine", id, halt.to_string()))?;
        process.is_capturing = true;
        process.disk_queue.push_back(DiskJob::Snapshot(SnapshotJob::Build(capture, source)));
        self.begin_disk_work(seat);
        Ok(())
    }

    /// The state machine becomes what an installed snapshot holds.
    pub(super) fn restore(&mut self, seat: usize, restore: Restore) -> Check {
        let node = self.seats[seat].id;
        let now = self.seats[seat].clock.at(self.now);
        let Some(process) = self.seats[seat].process_mut() else { return Ok(()) };
        let covered = restore.snapshot().last_included.index;
        let source = process.snapshots.open_source(GROUP, restore.snapshot().id);
        let restored = source.map_err(|error: SnapshotError| error.to_string()).and_then(
            |mut source: Box<dyn SnapshotSource>| {
                let restored = process.applier.restore(restore, &mut *source);
                restored.map_err(|halt| halt.to_string())
            },
        );
        let (applied, answers) = match restored {
            Ok(restored) => restored,
            Err(text) => return self.snapshot_unread(seat, &text),
        };
        process.raft.handle_applied(now, applied);
        let digest = process.applier.digest();
        self.oracle.restores(node, covered);
        if let Some(digest) = digest {
            self.oracle.restored_state(node, covered, digest)?;
        }
        for answer in answers {
            self.answer(seat, &answer)?;
        }
        Ok(())
    }

    /// A snapshot does not become a state: a disk that failed is named with the place, and whatever
    /// else says so is the state machine.
    pub(super) fn snapshot_unread(&mut self, seat: usize, text: &str) -> Check {
        if text.contains('/') {
            return self.halt(seat, text);
        }
        let (node, cause) = (self.seats[seat].id, text.split_once(": malformed"));
        let cause = cause.map_or(text, |(before, _)| &text[before.len() + 2..]);
        let text = format!("on {node} a snapshot was taken that cannot be restored: {cause}");
        Err(Failure::of("snapshots", node, text))
    }
}
