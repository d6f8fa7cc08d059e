//! Every block of every file damaged once, in four ways.

use std::path::{Path, PathBuf};

use raft_sim::choice::Choices;
use raft_sim::disk::{DamageKind, SimDisk};
use raft_storage::Alignment;
use raft_storage::disk::{Disk, OpenMode};

use super::judge::{Allowed, Judge, each_step, kill, open, profile};
use super::workload::{Step, Workload, append, look, small};

const SECTOR: usize = 512;

/// What happens to a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Flip,
    Zeros,
    Unreadable,
    Stale,
}

/// A directory with two segments, as it is and as it was.
struct Directory {
    judge: Judge,
    now: SimDisk,
    /// Before the last call of each life.
    before: [SimDisk; 2],
}

/// Two lives with two calls each; the second is cut off, so its last call is undecidable.
fn directory(alignment: Alignment) -> Directory {
    let call = |(index, len)| Step::Persist(vec![append(0, (1, 0), &[(index, len)])]);
    let steps = vec![
        Step::Open,
        Step::Initialize,
        call((1, 30)),
        call((2, 700)),
        Step::Kill,
        Step::Open,
        call((3, 30)),
        call((4, 700)),
    ];
    let (name, options) = ("damage", small(alignment));
    let judge = Judge::new(Workload { name, options, rewrites: false, steps });
    let disk = SimDisk::new(profile(&judge.workload, SECTOR), Choices::random(1));
    let mut disks = Vec::new();
    each_step(&judge, &disk, |done| {
        if [2, 6, 7].contains(&done.step) {
            disks.push(done.disk.fork(Choices::random(1)));
        }
    });
    let now = disks.pop().expect("the last step was shown");
    assert_eq!(now.pending(), 0, "everything is durable");
    kill(&now);
    let before = disks.try_into().unwrap_or_else(|_| panic!("two lives"));
    Directory { judge, now, before }
}

/// The bytes of a file; none if it is not there.
fn read(disk: &SimDisk, path: &Path) -> Vec<u8> {
    let disk = disk.fork(Choices::random(1)).handle();
    let Ok(file) = disk.open(path, OpenMode::Read) else { return Vec::new() };
    let mut bytes = vec![0; usize::try_from(file.bytes().unwrap()).unwrap()];
    assert_eq!(file.read_at(&mut bytes, 0).unwrap(), bytes.len());
    bytes
}

/// A sector of a file; zeros where there is none.
fn sector(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut sector = bytes.get(at..).unwrap_or_default().to_vec();
    sector.resize(SECTOR, 0);
    sector
}

impl Directory {
    fn files(&self) -> Vec<(PathBuf, usize)> {
        self.now.files()
    }

    /// A copy of the disk with one damaged block; `None` if nothing is different then.
    fn damaged(&self, path: &Path, at: usize, fault: Fault) -> Option<SimDisk> {
        let disk = self.now.fork(Choices::random(1));
        let hit = match fault {
            Fault::Flip => disk.damage_at(DamageKind::BitRot, path, at + at / SECTOR % 128),
            Fault::Zeros => disk.damage_at(DamageKind::Stale, path, at),
            Fault::Unreadable => disk.damage_at(DamageKind::Unreadable, path, at),
            Fault::Stale => {
                let now = sector(&read(&self.now, path), at);
                let old = self.before.iter().map(|disk| sector(&read(disk, path), at));
                let old = old.rev().find(|old| *old != now)?;
                let handle = disk.handle();
                let mut file = handle.open(path, OpenMode::ReadWrite).unwrap();
                file.write_at(&[std::io::IoSlice::new(&old)], at as u64).unwrap();
                file.sync_data().unwrap();
                true
            }
        };
        (hit && (fault == Fault::Unreadable || disk.digest() != self.now.digest())).then_some(disk)
    }

    /// Whether the last call wrote here, so that nobody can know that it was acknowledged.
    fn is_undecidable(&self, path: &Path, at: usize) -> bool {
        let is_newest = path.ends_with("wal/00-0000000000000002.wal");
        is_newest && sector(&read(&self.now, path), at) != sector(&read(&self.before[1], path), at)
    }
}

/// Every block of every file is damaged in every way. Opening refuses and names that file, or
/// gives back all that was acknowledged; but for the last call, which nothing stands behind yet,
/// and, where sectors are written again, what shares its sector. What was opened goes on.
#[test]
fn a_damaged_block_is_named_or_harmless() {
    for alignment in [Alignment::Page, Alignment::Eight] {
        let directory = directory(alignment);
        let judge = &directory.judge;
        let (mut refused, mut harmless, mut undecidable) = (0, 0, 0);
        let all = judge.writes.len();
        // A page is written once; a sector of the other kind has all of the second life's batches.
        let least = if alignment == Alignment::Page { all - 1 } else { all - 2 };
        for (path, len) in directory.files() {
            for at in (0..len).step_by(SECTOR) {
                for fault in [Fault::Flip, Fault::Zeros, Fault::Unreadable, Fault::Stale] {
                    let Some(disk) = directory.damaged(&path, at, fault) else { continue };
                    let story = || format!("{fault:?} in {} at {at}", path.display());
                    let mut storage = match open(&disk, &judge.workload, 50) {
                        Ok(storage) => storage,
                        Err(error) => {
                            let text = error.to_string();
                            let name = path.display().to_string();
                            assert!(text.contains(&name), "{}: {text}", story());
                            refused += 1;
                            continue;
                        }
                    };
                    let found = look(&mut storage);
                    let found = judge.states.iter().position(|state| *state == found);
                    let found = found.unwrap_or_else(|| panic!("another state: {}", story()));
                    drop(storage);
                    let sure = if directory.is_undecidable(&path, at) { least } else { all };
                    assert!(found >= sure, "{found} of {sure} writes: {}", story());
                    undecidable += usize::from(found < all);
                    harmless += usize::from(found == all);
                    let allowed = Allowed { writes: found..=found, owned: true };
                    judge.finish(&disk, 60, &allowed, &story);
                }
            }
        }
        let counts = [refused, harmless, undecidable];
        assert!(counts.iter().all(|count| *count > 2), "each verdict happened: {counts:?}");
    }
}
