//! Laws of room: how much there is, and what happens without.
//!
//! Read next: `power.rs`.

use std::io;

use super::super::{Finding, Verdict, broken, ensure};
use super::stage::{Stage, pattern, same};

/// A disk that can be written to says that there is room.
pub(super) fn free_bytes_are_plausible(stage: &mut Stage<'_>) -> Verdict {
    let mut file = stage.create("file")?;
    for len in [0, 1 << 16] {
        file.write(0, &pattern(1, len))?;
        file.sync()?;
        let free = free(stage)?;
        ensure(free > 0, || "there is room, said is that nothing is free".into())?;
    }
    Ok(())
}

/// What is free is what can be written, and less after it was.
pub(super) fn free_bytes_shrink_with_the_room(stage: &mut Stage<'_>) -> Verdict {
    stage.subject.limit_room(Some(ROOM))?;
    let before = free(stage)?;
    ensure((1..=2 * ROOM).contains(&before), || {
        format!("of {ROOM} bytes of room {before} are said to be free")
    })?;
    let mut file = stage.create("file")?;
    file.write(0, &pattern(1, usize::try_from(ROOM / 2).expect("small")))?;
    file.sync()?;
    let after = free(stage)?;
    ensure(after <= before - ROOM / 4, || {
        format!("{before} bytes were free; {} were written, {after} are free", ROOM / 2)
    })
}

/// What does not fit is refused by its name. What was there stays, and as soon as there is room
/// things go on.
pub(super) fn a_full_disk_says_so_and_keeps_what_it_has(stage: &mut Stage<'_>) -> Verdict {
    let old = pattern(1, 20_000);
    let mut file = stage.durable("file", &old)?;
    stage.subject.limit_room(Some(ROOM))?;
    let twice = usize::try_from(4 * ROOM).expect("small");
    let written = file.try_write(20_000, &pattern(2, twice))?;
    full(&written.and_then(|()| file.file.sync_data()), "written and synced")?;
    let allocated = file.file.allocate_zeroed(20_000 + 8 * ROOM);
    full(&allocated.and_then(|()| file.file.sync_data()), "allocated and synced")?;
    file.must_hold(0, &old, "on a full disk")?;
    let found = stage.content("file")?.unwrap_or_default();
    same(&found[..old.len().min(found.len())], &old, "on a full disk, another handle")?;

    stage.subject.limit_room(None)?;
    let mut other = stage.create("other")?;
    other.write(0, &pattern(3, 30_000))?;
    other.sync()?;
    other.must_hold(0, &pattern(3, 30_000), "as soon as there is room")?;
    file.write(20_000, &pattern(2, 30_000))?;
    file.must_hold(0, &[old, pattern(2, 30_000)].concat(), "as soon as there is room")
}

fn full(result: &io::Result<()>, what: &str) -> Verdict {
    let kind = result.as_ref().map_err(io::Error::kind);
    let is_full = matches!(kind, Err(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded));
    ensure(is_full, || format!("more than there is room for is {what}: {result:?}"))
}

fn free(stage: &Stage<'_>) -> Result<u64, Finding> {
    let free = stage.disk().free_bytes(&stage.root);
    free.map_err(|error| broken(format_args!("cannot say what is free: {error}")))
}

/// Small enough to be filled at once.
const ROOM: u64 = 1 << 18;
