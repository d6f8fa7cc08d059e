//! Receptions of snapshots on disks that fail and forget, and what becomes of their pieces.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod support;

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;

use raft_core::{Chunk, ChunkSink, ChunkStore, SnapshotError, SnapshotId, SnapshotMeta};
use raft_storage::{Receiver, SnapshotManager};

use self::support::Random;
use self::support::disk::FakeDisk;
use self::support::snapshots::{GROUP, Pieces, build, capture_after, chunks, manager};

/// Two chunks, the second one short.
const BYTES: usize = (1 << 20) + 5_000;

/// A snapshot of two chunks at a peer, and its chunks with the manifest.
fn offered() -> (SnapshotMeta, Vec<Chunk>) {
    let peer = SnapshotManager::in_memory();
    let meta = build(&peer, BYTES, 1);
    let all = chunks(&peer, &meta);
    assert_eq!(all.len(), 3);
    (meta, all)
}

/// Gives a receiver what it wants until it wants nothing, or fails; then finishes.
fn fill(mut receiver: Receiver, all: &[Chunk]) -> Result<(), SnapshotError> {
    while let Some(number) = receiver.wanted() {
        receiver.accept(all[number as usize].clone())?;
    }
    receiver.finish()
}

fn fetch(
    manager: &Arc<SnapshotManager>,
    meta: &SnapshotMeta,
    all: &[Chunk],
) -> Result<(), SnapshotError> {
    fill(manager.receive(GROUP, meta)?, all)
}

/// Whether a manager gives back what the chunks are of.
fn holds(manager: &Arc<SnapshotManager>, meta: &SnapshotMeta, all: &[Chunk]) -> bool {
    let read = manager.open_source(GROUP, meta.id).unwrap().read_all().unwrap();
    read == all[1..].iter().map(|chunk| &chunk.bytes[..]).collect::<Vec<_>>().concat()
}

fn pieces(disk: &FakeDisk) -> Vec<PathBuf> {
    let mut paths = disk.paths();
    paths.retain(|path| path.starts_with("/data/snapshots"));
    paths
}

/// The power fails at any call of a reception: afterwards the snapshot is there, whole, if that was
/// said, and a fetch that goes on from what is left brings it otherwise.
#[test]
fn a_reception_survives_a_power_failure_at_any_call() {
    let (meta, all) = offered();
    let mut calls = 0;
    for call in 1.. {
        let disk = FakeDisk::new();
        let manager = manager(&disk).unwrap();
        disk.fail_at(disk.calls() + call, ErrorKind::Other, true);
        let received = fetch(&manager, &meta, &all);
        for seed in 0..3 {
            let after = disk.crash(&mut Random(seed * 1_000 + call));
            let manager = support::snapshots::manager(&after).unwrap();
            let listed = manager.list_of(GROUP);
            assert!(listed.is_empty() || listed == [meta.clone()], "call {call}: {listed:?}");
            assert!(received.is_err() || !listed.is_empty(), "call {call}: it was said to be here");
            fetch(&manager, &meta, &all).unwrap();
            assert!(holds(&manager, &meta, &all));
            assert_eq!(pieces(&after).len(), 2, "nothing else is left of it");
        }
        if received.is_ok() {
            break;
        }
        calls = call;
    }
    assert!(calls > 10, "only {calls} calls failed");
}

/// One call fails, and only that one; the fetch begins again in the same process, or in the next
/// one, and comes to its end. Then the power fails. What was said to be durable is, although pages
/// look clean after a sync that failed.
#[test]
fn a_failed_sync_is_never_believed() {
    let (meta, all) = offered();
    for next_process in [false, true] {
        for call in 1.. {
            let disk = FakeDisk::new();
            let mut manager = manager(&disk).unwrap();
            disk.fail_at(disk.calls() + call, ErrorKind::Other, next_process);
            let first = fetch(&manager, &meta, &all);
            if first.is_ok() {
                break;
            }
            disk.kill();
            if next_process {
                manager = support::snapshots::manager(&disk).unwrap();
            }
            fetch(&manager, &meta, &all).unwrap();
            let after = disk.crash(&mut Random(call));
            let manager = support::snapshots::manager(&after).unwrap();
            assert_eq!(manager.list_of(GROUP), std::slice::from_ref(&meta), "call {call}");
            assert!(holds(&manager, &meta, &all));
        }
    }
}

/// The pieces of a fetch that a later snapshot has outrun are removed at the next start; those of
/// one that may go on are not, and neither is what is none of ours.
#[test]
fn pieces_that_nobody_wants_are_removed() {
    let (meta, all) = offered();
    let disk = FakeDisk::new();
    let broken = |manager: &Arc<SnapshotManager>| {
        let mut receiver = manager.receive(GROUP, &meta).unwrap();
        for chunk in &all[..2] {
            receiver.accept(chunk.clone()).unwrap();
        }
    };
    broken(&manager(&disk).unwrap());
    disk.put("/data/snapshots/0.data.building", vec![1; 10]);
    disk.put("/data/snapshots/notes.txt", b"not ours".to_vec());
    let manager = manager(&disk).unwrap();
    assert_eq!(pieces(&disk).len(), 3, "two pieces and the notes");
    let later = manager.build(GROUP, &capture_after(3), &mut Pieces { left: 10, seed: 9 }).unwrap();
    assert!(later.last_included.index > meta.last_included.index);
    let manager = support::snapshots::manager(&disk).unwrap();
    assert_eq!(pieces(&disk).len(), 3, "the later snapshot and the notes");
    assert_eq!(manager.list_of(GROUP), [later]);
}

/// A fetch that begins takes over from one that has not ended: that one publishes nothing any more.
#[test]
fn the_latest_receiver_counts() {
    let (meta, all) = offered();
    let manager = Arc::new(SnapshotManager::in_memory());
    let mut first = manager.receive(GROUP, &meta).unwrap();
    first.accept(all[0].clone()).unwrap();
    first.accept(all[1].clone()).unwrap();
    let second = manager.receive(GROUP, &meta).unwrap();
    assert_eq!(second.wanted(), Some(2), "it goes on from what the first has brought");
    let refused = fill(first, &all).unwrap_err().to_string();
    assert!(refused.contains("another fetch of group 0 has begun"), "{refused}");
    fill(second, &all).unwrap();
    assert!(holds(&manager, &meta, &all));
}

/// While a snapshot is fetched this node builds the same one: whenever that happens, what is built
/// keeps its data, now and after a restart.
#[test]
fn a_fetch_leaves_what_was_built_meanwhile() {
    let (meta, all) = offered();
    for before in 0..=all.len() {
        let disk = FakeDisk::new();
        let manager = manager(&disk).unwrap();
        let mut receiver = manager.receive(GROUP, &meta).unwrap();
        for number in 0..=all.len() {
            if number == before {
                assert_eq!(build(&manager, BYTES, 1), meta);
            }
            if let Some(wanted) = receiver.wanted() {
                receiver.accept(all[wanted as usize].clone()).unwrap();
            }
        }
        receiver.finish().unwrap();
        assert!(holds(&manager, &meta, &all), "built before chunk {before}");
        disk.kill();
        let next = self::manager(&disk).unwrap();
        assert!(holds(&next, &meta, &all), "built before chunk {before}, read after a restart");
    }
}

/// Every bit of a manifest counts: a peer that changes one is refused.
#[test]
fn a_manifest_with_another_bit_is_refused() {
    let (meta, all) = offered();
    let manager = Arc::new(SnapshotManager::in_memory());
    let mut receiver = manager.receive(GROUP, &meta).unwrap();
    for bit in 0..all[0].bytes.len() * 8 {
        let mut bytes = all[0].bytes.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(receiver.accept(Chunk::new(0, bytes.into())).is_err(), "bit {bit}");
    }
    for len in 0..all[0].bytes.len() {
        let cut = all[0].bytes.slice(..len);
        assert!(receiver.accept(Chunk::new(0, cut)).is_err(), "cut at {len}");
    }
    fill(receiver, &all).unwrap();
}

/// Who asks for what is not here is told so.
#[test]
fn what_is_not_here_is_gone() {
    let manager = SnapshotManager::in_memory();
    let meta = build(&manager, 10, 1);
    assert_eq!(manager.chunk(GROUP, meta.id, 1).unwrap().bytes.len(), 10);
    assert_eq!(manager.chunk(GROUP, meta.id, 2).err(), Some(SnapshotError::Gone));
    assert_eq!(manager.chunk(GROUP, SnapshotId::new(7), 0).err(), Some(SnapshotError::Gone));
}

/// A manifest that rots, or data that is cut or gone, keeps nobody from starting. Who wants the
/// snapshot is told which file it is, and a peer that has it mends it without sending again what is
/// still good.
#[test]
fn a_damaged_snapshot_is_named_and_mended() {
    let (meta, all) = offered();
    for (ending, damage, needed) in [("manifest", 20, 1), ("data", 1 << 20, 2), ("data", 0, 3)] {
        let disk = FakeDisk::new();
        assert_eq!(build(&manager(&disk).unwrap(), BYTES, 1), meta, "a peer with the same state");
        let path = pieces(&disk).into_iter().find(|path| path.extension() == Some(ending.as_ref()));
        let path = path.unwrap();
        match (ending, damage) {
            ("manifest", at) => disk.damage(&path, at),
            (_, 0) => disk.delete(&path),
            (_, len) => disk.put(&path, disk.read(&path)[..len].to_vec()),
        }
        let manager = manager(&disk).unwrap();
        let stats = manager.stats();
        assert_eq!((stats.count, stats.damaged), (0, 1));
        let error = manager.open_source(GROUP, meta.id).err().unwrap().to_string();
        assert!(error.contains(path.to_str().unwrap()), "{error}");
        assert!(error.contains(&stats.last_error.unwrap()), "{error}");
        fetch(&manager, &meta, &all).unwrap();
        assert!(holds(&manager, &meta, &all));
        assert_eq!(manager.stats().chunks_received, needed, "{ending} damaged at {damage}");
        assert_eq!(pieces(&disk).len(), 2);
    }
}

/// A chunk that rots is not given away. The next fetch of the same snapshot asks for that chunk
/// alone, also when the power fails meanwhile.
#[test]
fn a_rotten_chunk_is_mended_alone() {
    let (meta, all) = offered();
    let disk = FakeDisk::new();
    let first = manager(&disk).unwrap();
    build(&first, BYTES, 1);
    let data = pieces(&disk).into_iter().find(|path| path.extension() == Some("data".as_ref()));
    let mut bytes = disk.read(data.as_ref().unwrap());
    bytes[(1 << 20) + 7] ^= 1;
    disk.put(data.unwrap(), bytes);
    assert!(first.chunk(GROUP, meta.id, 1).is_ok(), "what is good is served");
    let error = first.chunk(GROUP, meta.id, 2).unwrap_err().to_string();
    assert!(error.contains(".data at 1048576: "), "{error}");
    assert_eq!(first.list_of(GROUP), []);
    let mut wanted = Vec::new();
    for process in 0..2 {
        let manager = if process == 0 { Arc::clone(&first) } else { manager(&disk).unwrap() };
        let mut receiver = manager.receive(GROUP, &meta).unwrap();
        while let Some(number) = receiver.wanted().filter(|number| process == 1 || *number == 0) {
            wanted.push(number);
            receiver.accept(all[number as usize].clone()).unwrap();
        }
        if process == 1 {
            receiver.finish().unwrap();
            assert!(holds(&manager, &meta, &all));
        }
    }
    assert_eq!(wanted, [0, 2]);
    assert_eq!(pieces(&disk).len(), 2);
}

/// A manifest of a later version is refused with both numbers.
#[test]
fn a_later_version_is_named() {
    let disk = FakeDisk::new();
    let meta = build(&manager(&disk).unwrap(), 10, 1);
    let manifest = pieces(&disk).into_iter().find(|path| path.extension().unwrap() == "manifest");
    let manifest = manifest.unwrap();
    let mut bytes = disk.read(&manifest);
    bytes[4] = 9;
    let end = bytes.len() - 4;
    let sum = raft_core::Checksum::of(&bytes[..end]).get();
    bytes[end..].copy_from_slice(&sum.to_le_bytes());
    disk.put(&manifest, bytes);
    let manager = manager(&disk).unwrap();
    let error = manager.open_source(GROUP, meta.id).err().unwrap().to_string();
    assert!(error.contains("manifest version 9; this program knows 1"), "{error}");
}

/// The snapshot that the log names is kept, however many newer ones there are, until it names
/// another.
#[test]
fn what_the_log_names_is_kept() {
    let manager = Arc::new(SnapshotManager::in_memory());
    let build = |commands| {
        let mut pieces = Pieces { left: 100, seed: commands };
        manager.build(GROUP, &capture_after(commands), &mut pieces).unwrap()
    };
    let named = build(0);
    manager.retain(GROUP, named.id);
    let newer: Vec<_> = (1..6).map(build).collect();
    let kept: Vec<_> = manager.list_of(GROUP).into_iter().map(|meta| meta.id).collect();
    assert_eq!(kept, [named.id, newer[3].id, newer[4].id]);
    manager.retain(GROUP, newer[4].id);
    assert_eq!(manager.list_of(GROUP), newer[3..]);
}
