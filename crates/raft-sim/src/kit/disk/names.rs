//! Laws of names: directories, renames, removals and locks.
//!
//! Read next: `room.rs`.

use std::io;

use raft_storage::disk::{DiskLock, OpenMode};

use super::super::{Finding, Verdict, broken, ensure};
use super::stage::{Stage, pattern, same};

/// A directory is made with those above it; one that is there stays as it is.
pub(super) fn directories_are_made_with_their_parents(stage: &mut Stage<'_>) -> Verdict {
    let deep = stage.path("a/b/c");
    for _ in 0..2 {
        let made = stage.disk().create_directory(&deep);
        made.map_err(|error| broken(format_args!("cannot create a directory: {error}")))?;
        let listed = stage.list(&deep)?;
        let expected: Vec<_> =
            stage.find("a/b/c/file")?.map(|_| deep.join("file")).into_iter().collect();
        ensure(listed == expected, || format!("it lists {listed:?}, it has {expected:?}"))?;
        stage.open("a/b/c/file", OpenMode::Create)?.write(0, &pattern(1, 10))?;
    }
    let file = stage.path("a/b/c/file");
    ensure(stage.list(&deep)? == [file], || "a file in it is not listed".into())
}

/// What is in a directory is listed, in order, with its path, and nothing else.
pub(super) fn a_directory_lists_exactly_its_files_in_order(stage: &mut Stage<'_>) -> Verdict {
    let inner = stage.path("m");
    let made = stage.disk().create_directory(&inner);
    made.map_err(|error| broken(format_args!("cannot create a directory: {error}")))?;
    let names = ["z", "a", "b-10", "b-2", "ab", "gone", "m/inside", "m/also"];
    for name in names {
        stage.create(name)?;
    }
    stage.rename("ab", "y")?;
    stage.remove("gone")?;
    // Whether directories are listed depends on the disk; no log has two kinds in one place.
    let mut listed = stage.list(&stage.root)?;
    listed.retain(|path| *path != inner);
    let expected = ["a", "b-10", "b-2", "y", "z"].map(|name| stage.path(name));
    ensure(listed == expected, || format!("it has {expected:?}, it lists {listed:?}"))?;
    let listed = stage.list(&inner)?;
    let expected = ["m/also", "m/inside"].map(|name| stage.path(name));
    ensure(listed == expected, || format!("it has {expected:?}, it lists {listed:?}"))
}

/// A file has its new name alone, with its content and its open handles; what had the name is gone.
pub(super) fn a_renamed_file_replaces_what_had_the_name(stage: &mut Stage<'_>) -> Verdict {
    stage.create("to")?.write(0, &pattern(1, 9000))?;
    let mut file = stage.create("from")?;
    file.write(0, &pattern(2, 100))?;
    stage.rename("from", "to")?;
    ensure(stage.find("from")?.is_none(), || "it still has its old name".into())?;
    let found = stage.content("to")?.unwrap_or_default();
    same(&found, &pattern(2, 100), "under its new name")?;
    file.write(100, &pattern(3, 100))?;
    let expected = [pattern(2, 100), pattern(3, 100)].concat();
    let found = stage.content("to")?.unwrap_or_default();
    same(&found, &expected, "what a handle wrote that was opened under the old name")?;
    let listed = stage.list(&stage.root)?;
    ensure(listed == [stage.path("to")], || format!("listed is {listed:?}"))
}

/// What is removed is not there any more, and another file may take its name.
pub(super) fn a_removed_file_is_gone(stage: &mut Stage<'_>) -> Verdict {
    stage.create("kept")?.write(0, &pattern(1, 100))?;
    stage.create("file")?.write(0, &pattern(2, 100))?;
    stage.remove("file")?;
    ensure(stage.find("file")?.is_none(), || "a removed file is found".into())?;
    let listed = stage.list(&stage.root)?;
    ensure(listed == [stage.path("kept")], || format!("listed is {listed:?}"))?;
    stage.create("file")?.write(0, &pattern(3, 10))?;
    let found = stage.content("file")?.unwrap_or_default();
    same(&found, &pattern(3, 10), "a file with the name of a removed one")
}

/// One holds it; the next gets it when that one lets go. Other locks are free.
pub(super) fn a_lock_is_exclusive_until_it_is_dropped(stage: &mut Stage<'_>) -> Verdict {
    for _ in 0..2 {
        let held = lock(stage, "LOCK")?;
        let second = stage.disk().lock(&stage.path("LOCK")).map(drop);
        let kind = second.as_ref().map_err(io::Error::kind);
        ensure(kind == Err(io::ErrorKind::WouldBlock), || {
            format!("a lock that is held would block, said is {second:?}")
        })?;
        let other = lock(stage, "OTHER")?;
        drop(other);
        let still = stage.disk().lock(&stage.path("LOCK")).is_err();
        ensure(still, || "asking for a lock that is held takes it away".into())?;
        drop(held);
    }
    Ok(())
}

/// What was written last into a lock is read from its file, while it is held.
pub(super) fn a_lock_tells_who_holds_it(stage: &mut Stage<'_>) -> Verdict {
    let mut held = lock(stage, "LOCK")?;
    for text in ["process 12345, node 7\n", "process 1\n"] {
        let written = held.write_text(text);
        written.map_err(|error| broken(format_args!("cannot write into a lock: {error}")))?;
        let found = stage.content("LOCK")?.unwrap_or_default();
        same(&found, text.as_bytes(), "the text in a lock")?;
    }
    Ok(())
}

pub(super) fn lock(stage: &Stage<'_>, name: &str) -> Result<Box<dyn DiskLock>, Finding> {
    let locked = stage.disk().lock(&stage.path(name));
    locked.map_err(|error| broken(format_args!("cannot take the free lock {name}: {error}")))
}
