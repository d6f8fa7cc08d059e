//! Laws of files: what was written is what is read.
//!
//! Read next: `names.rs`.

use std::io;

use raft_storage::disk::OpenMode;

use super::super::{Verdict, broken, ensure};
use super::stage::{Stage, pattern, same};

/// Whatever is written, wherever, over whatever: it is what is read, and nothing else changed.
pub(super) fn what_was_written_is_read_at_any_offset(stage: &mut Stage<'_>) -> Verdict {
    let mut file = stage.create("file")?;
    let mut model: Vec<u8> = Vec::new();
    let places = [(0, 1), (1, 4096), (511, 2), (4095, 2), (3, 20_000), (8192, 4096), (20_003, 5)];
    for (mark, (at, len)) in (0..).zip(places) {
        let bytes = pattern(mark, len);
        file.write(at as u64, &bytes)?;
        model.resize(model.len().max(at + len), 0);
        model[at..at + len].copy_from_slice(&bytes);
        same(&file.all()?, &model, format_args!("after {len} bytes at {at}"))?;
        file.must_hold(at as u64, &bytes, "what was written last")?;
    }
    for at in [0, 1, 510, 4094, 4096, 19_999] {
        file.must_hold(at, &model[usize::try_from(at).expect("small")..][..3], "three bytes")?;
    }
    Ok(())
}

/// What one handle writes, another reads at once, opened before or after.
pub(super) fn handles_of_a_file_see_the_same(stage: &mut Stage<'_>) -> Verdict {
    let mut one = stage.create("file")?;
    let mut two = stage.open("file", OpenMode::ReadWrite)?;
    let reader = stage.open("file", OpenMode::Read)?;
    one.write(0, &pattern(1, 5000))?;
    two.must_hold(0, &pattern(1, 5000), "another handle")?;
    two.write(100, &pattern(2, 6000))?;
    two.allocate(9000)?;
    for (handle, who) in [(&one, "the first handle"), (&reader, "a reader")] {
        handle.must_hold(0, &pattern(1, 5000)[..100], who)?;
        handle.must_hold(100, &pattern(2, 6000), who)?;
        let len = handle.len()?;
        ensure(len == 9000, || format!("{who} finds {len} bytes of 9000"))?;
    }
    let late = stage.open("file", OpenMode::Read)?;
    late.must_hold(100, &pattern(2, 6000), "a later handle")
}

/// At the end, and anywhere behind it, there is nothing, and that is no error.
pub(super) fn reads_beyond_the_end_give_zero(stage: &mut Stage<'_>) -> Verdict {
    let mut file = stage.create("file")?;
    for len in [0, 1, 4096, 5000] {
        file.write(0, &pattern(1, len))?;
        for beyond in [0, 1, 4096, 1 << 30] {
            let read = file.file.read_at(&mut [0; 10], len as u64 + beyond);
            ensure(matches!(read, Ok(0)), || {
                format!("{beyond} bytes after the end of {len} bytes: {read:?}")
            })?;
        }
        let tail = file.read(len.saturating_sub(1) as u64, 10)?;
        ensure(tail.len() == len.min(1), || {
            format!("one byte before the end are {} bytes", tail.len())
        })?;
    }
    Ok(())
}

/// A call may do a part of what it was asked; never nothing, never more.
pub(super) fn reads_and_writes_make_progress(stage: &mut Stage<'_>) -> Verdict {
    let mut file = stage.create("file")?;
    for round in 0..ROUNDS {
        let bytes = pattern(1, 1 + round * 37);
        file.write(round as u64, &bytes)?;
        let mut buffer = vec![0; bytes.len()];
        let read = file.file.read_at(&mut buffer, round as u64);
        let read = read.map_err(|error| broken(format_args!("cannot read: {error}")))?;
        ensure((1..=bytes.len()).contains(&read), || {
            format!("a read of {} bytes that are there says that it read {read}", bytes.len())
        })?;
        same(&buffer[..read], &bytes[..read], "what it says that it read")?;
        ensure(buffer[read..].iter().all(|byte| *byte == 0), || {
            format!("a read of {read} bytes wrote more than these into its buffer")
        })?;
    }
    Ok(())
}

/// What was jumped over is zeros.
pub(super) fn holes_read_as_zeros(stage: &mut Stage<'_>) -> Verdict {
    let mut file = stage.create("file")?;
    file.write(0, &pattern(1, 10))?;
    for at in [100, 5000, 70_000] {
        let before = usize::try_from(file.len()?).expect("small");
        file.write(at as u64, &pattern(2, 10))?;
        file.must_hold(before as u64, &vec![0; at - before], "a hole")?;
        file.must_hold(at as u64, &pattern(2, 10), "behind a hole")?;
    }
    file.must_hold(0, &pattern(1, 10), "before the holes")
}

/// A created file is empty, whatever had its name.
pub(super) fn create_empties_what_had_the_name(stage: &mut Stage<'_>) -> Verdict {
    stage.create("file")?.write(0, &pattern(1, 6000))?;
    let mut again = stage.create("file")?;
    let len = again.len()?;
    ensure(len == 0, || format!("a created file has {len} bytes"))?;
    again.write(10, &pattern(2, 10))?;
    let expected: Vec<u8> = [vec![0; 10], pattern(2, 10)].concat();
    let found = stage.content("file")?.unwrap_or_default();
    same(&found, &expected, "a created file that something was written to")
}

/// Nothing is opened, renamed or removed that is not there, and nothing comes to be by that.
pub(super) fn a_missing_file_is_not_found(stage: &mut Stage<'_>) -> Verdict {
    let (disk, path, other) = (stage.disk(), stage.path("missing"), stage.path("other"));
    let asked = [
        ("opened for reading", disk.open(&path, OpenMode::Read).map(drop)),
        ("opened for writing", disk.open(&path, OpenMode::ReadWrite).map(drop)),
        ("renamed", disk.rename(&path, &other)),
        ("removed", disk.remove(&path)),
    ];
    for (what, result) in asked {
        let kind = result.as_ref().map_err(io::Error::kind);
        ensure(kind == Err(io::ErrorKind::NotFound), || {
            format!("a missing file that is {what} is not found, said is {result:?}")
        })?;
    }
    let listed = stage.list(&stage.root)?;
    ensure(listed.is_empty(), || format!("there are files now: {listed:?}"))
}

/// A file becomes as long as asked, its new end is zeros, and it never becomes shorter.
pub(super) fn allocated_room_is_zeros_and_never_less(stage: &mut Stage<'_>) -> Verdict {
    let mut file = stage.create("file")?;
    file.write(0, &pattern(1, 100))?;
    for (asked, expected) in [(50, 100), (100, 100), (9000, 9000), (8000, 9000), (200_000, 200_000)]
    {
        file.allocate(asked)?;
        let len = file.len()?;
        ensure(len == expected, || format!("with {asked} bytes allocated it has {len}"))?;
    }
    file.must_hold(0, &pattern(1, 100), "before what was allocated")?;
    file.must_hold(100, &vec![0; 199_900], "what was allocated")?;
    file.write(8999, &pattern(2, 2))?;
    file.must_hold(8998, &[0, pattern(2, 2)[0], pattern(2, 2)[1], 0], "what is in use now")
}

/// To read from the medium gives the same, synced or not.
pub(super) fn dropping_the_cache_changes_nothing(stage: &mut Stage<'_>) -> Verdict {
    let mut file = stage.create("file")?;
    file.write(0, &pattern(1, 9000))?;
    file.sync()?;
    file.write(5000, &pattern(2, 9000))?;
    let expected = [&pattern(1, 9000)[..5000], &pattern(2, 9000)].concat();
    for _ in 0..2 {
        let dropped = file.file.drop_cache();
        dropped.map_err(|error| broken(format_args!("cannot drop the cache: {error}")))?;
        same(&file.all()?, &expected, "after the cache was dropped")?;
        file.sync()?;
    }
    Ok(())
}

/// Enough to meet a part, where parts are rare.
const ROUNDS: usize = 100;
