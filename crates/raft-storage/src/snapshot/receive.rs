//! A snapshot on its way from a peer: chunks into files, published when all are there.
//!
//! * The pieces are `NAME.data.part` and `NAME.manifest.part`. A fetch that begins again finds
//!   them, believes what matches the manifest, and asks for the rest.
//! * Nothing is believed that memory shows and the disk may not have: before anything is read back
//!   it is synced, and after a sync that failed the pieces are given up.
//! * One receiver of a group at a time: the latest. Those before it publish nothing any more.
//!
//! Read next: `../snapshot.rs`.

use std::collections::BTreeSet;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, MutexGuard};

use bytes::Bytes;
use raft_core::{Chunk, ChunkSink, FetchOutcome, GroupId, SnapshotError, SnapshotMeta};
use sha2::{Digest, Sha256};

use super::files::{failed, read_file, read_verified, write_file};
use super::manifest::Manifest;
use super::{Names, SnapshotManager, name};
use crate::disk::{DiskFile, OpenMode};
use crate::file::write_all;

/// Takes the chunks of one snapshot. Dropping it keeps what has arrived.
pub struct Receiver {
    manager: Arc<SnapshotManager>,
    group: GroupId,
    meta: SnapshotMeta,
    /// Which receiver of the group it is.
    number: u64,
    is_published: bool,
    draft: Option<Draft>,
}

/// What has arrived.
struct Draft {
    manifest: Manifest,
    bytes: Bytes,
    data: PathBuf,
    file: Box<dyn DiskFile>,
    missing: BTreeSet<u32>,
}

impl Receiver {
    pub(super) fn open(
        manager: &Arc<SnapshotManager>,
        group: GroupId,
        meta: &SnapshotMeta,
    ) -> Result<Self, SnapshotError> {
        let mut names = manager.names();
        let number = names.receivers.entry(group).or_default();
        *number += 1;
        let number = *number;
        let is_published = manager.is_published(group, meta.id);
        let (meta, shared) = (meta.clone(), Arc::clone(manager));
        let mut receiver = Self { manager: shared, group, meta, number, is_published, draft: None };
        if !is_published {
            receiver.clear_others()?;
            receiver.resume();
        }
        drop(names);
        Ok(receiver)
    }

    /// The right to give names to files, if no other receiver took it since.
    fn names(&self) -> Result<MutexGuard<'_, Names>, SnapshotError> {
        let names = self.manager.names();
        if names.receivers.get(&self.group) != Some(&self.number) {
            let text = format!("another fetch of group {} has begun", self.group);
            return Err(SnapshotError::Io(text));
        }
        Ok(names)
    }

    fn name(&self) -> String {
        name(self.group, self.meta.last_included.index.get(), self.meta.id)
    }

    fn path(&self, ending: &str) -> PathBuf {
        self.manager.path(&self.name(), ending)
    }

    /// Removes the pieces of other snapshots of the group: nobody offers them any more.
    fn clear_others(&self) -> Result<(), SnapshotError> {
        let (ours, group) = (self.name(), format!("{}-", self.group));
        for path in self.manager.list()? {
            let file = path.file_name().and_then(|file| file.to_str()).unwrap_or_default();
            let is_piece = file.strip_suffix(".part").is_some() && file.starts_with(&group);
            if is_piece && !file.starts_with(&ours) {
                self.manager.disk.remove(&path).map_err(|error| failed("remove", &path, &error))?;
            }
        }
        Ok(())
    }

    /// Takes over what an earlier fetch has brought, if it came as far as the manifest.
    fn resume(&mut self) {
        let disk = self.manager.disk.as_ref();
        let Ok(bytes) = read_file(disk, &self.path("manifest.part")) else { return };
        let Ok(manifest) = self.checked(&bytes) else { return };
        self.draft = self.draft(manifest, bytes).ok();
        self.manager.state().stats.chunks_resumed += u64::from(self.draft.is_some());
    }

    /// What has arrived so far: the chunks that are what the manifest says.
    fn draft(&self, manifest: Manifest, bytes: Bytes) -> Result<Draft, SnapshotError> {
        let data = self.path("data.part");
        let numbers = (1..).zip(&manifest.chunks);
        let Some(file) = self.settled(&data) else {
            let file = self.manager.disk.open(&data, OpenMode::Create);
            let file = file.map_err(|error| failed("create", &data, &error))?;
            let missing = numbers.map(|(number, _)| number).collect();
            return Ok(Draft { manifest, bytes, data, file, missing });
        };
        let mut missing = BTreeSet::new();
        for (number, facts) in numbers {
            let offset = Manifest::offset(number as usize - 1);
            if read_verified(file.as_ref(), &data, offset, *facts).is_err() {
                missing.insert(number);
            }
        }
        let present = manifest.chunks.len() - missing.len();
        self.manager.state().stats.chunks_resumed += present as u64;
        Ok(Draft { manifest, bytes, data, file, missing })
    }

    /// Data that is here already: of a fetch, or under its last name without a manifest that reads.
    fn settled(&self, data: &Path) -> Option<Box<dyn DiskFile>> {
        let disk = &self.manager.disk;
        let open = || disk.open(data, OpenMode::ReadWrite);
        let renamed = || disk.rename(&self.path("data"), data).and_then(|()| open());
        let mut file = open().or_else(|_| renamed()).ok()?;
        settle(file.as_mut()).ok()?;
        Some(file)
    }

    /// A manifest that is the one that was offered.
    fn checked(&self, bytes: &Bytes) -> Result<Manifest, SnapshotError> {
        let (manifest, id) = Manifest::decode(bytes).map_err(SnapshotError::Malformed)?;
        if id != self.meta.id || manifest.group != self.group || manifest.meta(id) != self.meta {
            let text =
                format!("snapshot {} was offered, and the manifest is of {id}", self.meta.id);
            return Err(SnapshotError::Malformed(text));
        }
        Ok(manifest)
    }

    fn begin(&mut self, bytes: Bytes) -> Result<(), SnapshotError> {
        let manifest = self.checked(&bytes)?;
        let names = self.names()?;
        if self.manager.is_published(self.group, self.meta.id) {
            // This node has built the same meanwhile: its data must keep its name.
            drop(names);
            self.is_published = true;
            return Ok(());
        }
        write_file(self.manager.disk.as_ref(), &self.path("manifest.part"), &bytes)?;
        let draft = self.draft(manifest, bytes)?;
        drop(names);
        self.draft = Some(draft);
        Ok(())
    }

    /// Verifies everything and publishes it. Does nothing for a snapshot that was here already.
    ///
    /// # Errors
    ///
    /// [`SnapshotError`] if chunks are missing, if the whole is not what the manifest says, or if
    /// the disk fails. What has arrived is kept, unless the whole is wrong or could not be synced.
    pub fn finish(mut self) -> Result<(), SnapshotError> {
        if self.is_published {
            return Ok(());
        }
        let finished = self.publish();
        let mut state = self.manager.state();
        match &finished {
            Ok(()) => state.stats.received += 1,
            Err(error) => state.note_failure(error),
        }
        drop(state);
        finished
    }

    fn publish(&mut self) -> Result<(), SnapshotError> {
        let draft = self.draft.take().filter(|draft| draft.missing.is_empty());
        let draft = draft.ok_or_else(|| SnapshotError::malformed("every chunk of it"))?;
        let Draft { manifest, bytes, data, mut file, .. } = draft;
        if let Err(error) = settle(file.as_mut()) {
            // Nobody knows what is on the disk now, and memory will not tell.
            self.give_up()?;
            return Err(failed("sync", &data, &error));
        }
        let mut hasher = Sha256::new();
        for (place, facts) in manifest.chunks.iter().enumerate() {
            let offset = Manifest::offset(place);
            hasher.update(&read_verified(file.as_ref(), &data, offset, *facts)?);
        }
        if <[u8; 32]>::from(hasher.finalize()) != manifest.digest {
            // Chunk by chunk it was right: the manifest itself lies.
            self.give_up()?;
            return Err(SnapshotError::malformed("the data that the manifest describes"));
        }
        let names = self.names()?;
        if !self.manager.is_published(self.group, self.meta.id) {
            self.manager.publish(self.meta.id, &data, manifest, bytes)?;
        }
        // A leftover of it would be removed before the next fetch.
        let _ = self.manager.disk.remove(&self.path("manifest.part"));
        self.manager.prune(self.group, &names);
        Ok(())
    }

    /// Removes the pieces, so that nobody goes on from them.
    fn give_up(&self) -> Result<(), SnapshotError> {
        let names = self.names()?;
        for ending in ["manifest.part", "data.part"] {
            let _ = self.manager.disk.remove(&self.path(ending));
        }
        drop(names);
        Ok(())
    }
}

/// Makes what is in memory durable, and lets the next read show what really is.
fn settle(file: &mut dyn DiskFile) -> io::Result<()> {
    file.sync_data()?;
    file.drop_cache()
}

impl ChunkSink for Receiver {
    fn wanted(&self) -> Option<u32> {
        match &self.draft {
            _ if self.is_published => None,
            None => Some(0),
            Some(draft) => draft.missing.first().copied(),
        }
    }

    fn accept(&mut self, chunk: Chunk) -> Result<(), SnapshotError> {
        if !chunk.verify() {
            return Err(SnapshotError::malformed("a chunk that matches its checksum"));
        }
        let number = chunk.number;
        let Some(draft) = self.draft.as_mut().filter(|_| number > 0) else {
            if number == 0 && self.draft.is_none() && !self.is_published {
                self.begin(chunk.bytes)?;
                self.manager.state().stats.chunks_received += 1;
            }
            return Ok(());
        };
        if !draft.missing.contains(&number) {
            return Ok(());
        }
        let place = number as usize - 1;
        let facts = draft.manifest.chunks[place];
        if chunk.bytes.len() != facts.len as usize || chunk.checksum != facts.checksum {
            let text = format!("chunk {number} as the manifest describes it");
            return Err(SnapshotError::Malformed(text));
        }
        let offset = Manifest::offset(place);
        write_all(draft.file.as_mut(), &mut [IoSlice::new(&chunk.bytes)], offset)
            .map_err(|error| failed("write", &draft.data, &error))?;
        draft.missing.remove(&number);
        self.manager.state().stats.chunks_received += 1;
        Ok(())
    }

    /// Publishes what is complete; what is not stays for the next fetch. A host that wants to know
    /// calls [`finish`](Receiver::finish) instead.
    fn close(self: Box<Self>, outcome: FetchOutcome) {
        if outcome == FetchOutcome::Complete {
            // Whoever does not ask is not told.
            let _ = self.finish();
        }
    }
}

impl std::fmt::Debug for Receiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiver").field("meta", &self.meta).finish_non_exhaustive()
    }
}
