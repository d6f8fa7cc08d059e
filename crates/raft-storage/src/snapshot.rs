//! `SnapshotManager`: publishes snapshots, receives them chunk by chunk, serves them and lets the
//! old ones go.
//!
//! * A snapshot is two files, `NAME.data` and `NAME.manifest`. It is there when its manifest has
//!   its name: the data is durable and named before that, so a crash leaves a whole one or none.
//! * Every chunk is compared with its checksum whenever it is read, and all data with the hash in
//!   the manifest before a snapshot that was received is published.
//! * What a broken fetch has brought stays, and the next one asks for the rest.
//! * The two newest of a group are kept, the one its log names, and one that is being read.
//! * A snapshot that does not read any more is told by name to whoever wants it, and keeps nobody
//!   from starting who does not.
//!
//! Read next: `snapshot/manifest.rs`, `snapshot/files.rs`, `snapshot/receive.rs`.

mod files;
mod manifest;
mod memory_disk;
mod receive;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use raft_core::{
    Capture, Chunk, ChunkStore, EntryId, GroupId, Membership, SnapshotError, SnapshotId,
    SnapshotMeta, SnapshotSource,
};

use self::files::{Writer, failed, read_file, read_verified, write_file};
use self::manifest::{ChunkFacts, Manifest};
use self::memory_disk::MemoryDisk;
pub use self::receive::Receiver;
use crate::disk::{Disk, OpenMode};

/// The snapshots of a node. Blocking; shared by whoever builds, receives, serves and restores.
///
/// ```
/// use raft_storage::SnapshotManager;
///
/// let directory = tempfile::tempdir()?;
/// let manager = SnapshotManager::open(directory.path().join("snapshots"))?;
/// assert_eq!(manager.stats().count, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct SnapshotManager {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    /// Held while names change, and before the state where both are.
    names: Mutex<Names>,
    state: Mutex<State>,
}

/// Who may give names to files of a group.
#[derive(Default)]
struct Names {
    /// Groups of which a snapshot is built.
    building: BTreeSet<GroupId>,
    /// How many receivers each group had; the last one counts.
    receivers: BTreeMap<GroupId, u64>,
}

#[derive(Default)]
struct State {
    published: BTreeMap<(GroupId, SnapshotId), Published>,
    /// What the log of each group names.
    named: BTreeMap<GroupId, SnapshotId>,
    /// Names of snapshots whose manifests do not read, with the reason.
    damaged: BTreeMap<String, String>,
    stats: SnapshotStats,
}

#[derive(Clone)]
struct Published {
    manifest: Arc<Manifest>,
    /// The manifest as it is stored: chunk zero.
    bytes: Bytes,
    /// Read by a peer or a state machine since others were last let go.
    is_in_use: bool,
}

/// What became of snapshots since the manager was opened. Counters only grow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SnapshotStats {
    /// Snapshots held now.
    pub count: u64,
    /// Bytes of their data.
    pub bytes: u64,
    /// Snapshots of this node that were published.
    pub built: u64,
    /// Snapshots of peers that were published.
    pub received: u64,
    /// Chunks given to peers, manifests among them.
    pub chunks_served: u64,
    /// Chunks taken from peers, manifests among them.
    pub chunks_received: u64,
    /// Chunks of broken fetches that need not come again.
    pub chunks_resumed: u64,
    /// Snapshots that were let go.
    pub removed: u64,
    /// Builds and receptions that failed.
    pub failed: u64,
    /// Snapshots that were found damaged, when the manager was opened or they were read.
    pub damaged: u64,
    /// Why the latest build or reception failed, or what was found damaged.
    pub last_error: Option<String>,
}

/// So many of the newest of a group are kept.
const KEPT: usize = 2;

impl SnapshotManager {
    /// The snapshots in a directory on the disk of the operating system, which is created if it is
    /// not there.
    ///
    /// # Errors
    ///
    /// [`SnapshotError::Io`], with the file and the words of the system.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self, SnapshotError> {
        Self::open_with(Arc::new(crate::disk::RealDisk), directory)
    }

    /// The snapshots in a directory on any disk.
    ///
    /// What is not whole is not looked at: pieces of builds are removed, and those of receptions
    /// wait unless a later snapshot is here. A damaged snapshot stays as it is; whoever asks for it
    /// is told.
    ///
    /// # Errors
    ///
    /// [`SnapshotError::Io`], with the file and the words of the disk.
    pub fn open_with(
        disk: Arc<dyn Disk>,
        directory: impl Into<PathBuf>,
    ) -> Result<Self, SnapshotError> {
        let directory = directory.into();
        let (names, state) = (Mutex::default(), Mutex::default());
        let manager = Self { disk, directory, names, state };
        manager.create_directory()?;
        for path in manager.list()? {
            if path.extension().is_some_and(|extension| extension == "manifest") {
                manager.load(&path)?;
            }
        }
        manager.sweep()?;
        Ok(manager)
    }

    /// Snapshots in memory, for nodes that keep nothing.
    ///
    /// # Panics
    ///
    /// Never: memory does not fail.
    pub fn in_memory() -> Self {
        let disk = Arc::new(MemoryDisk::default());
        Self::open_with(disk, "/snapshots").expect("memory does not fail")
    }

    /// Makes the directory and its name durable: a log that names a snapshot in it drops its
    /// entries. Names that a dead process gave may not be durable either.
    fn create_directory(&self) -> Result<(), SnapshotError> {
        let directory = self.directory.as_path();
        let created = self.disk.create_directory(directory);
        created.map_err(|error| failed("create", directory, &error))?;
        let parent = directory.parent().unwrap_or(directory);
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        for directory in [parent, directory] {
            let synced = self.disk.sync_directory(directory);
            synced.map_err(|error| failed("sync", directory, &error))?;
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What became of snapshots since the manager was opened.
    pub fn stats(&self) -> SnapshotStats {
        let state = self.state();
        let bytes = state.published.values().map(|published| published.manifest.data_bytes());
        let (count, bytes) = (state.published.len() as u64, bytes.sum());
        SnapshotStats { count, bytes, ..state.stats.clone() }
    }

    /// The snapshots of a group that are here, the oldest first.
    pub fn list_of(&self, group: GroupId) -> Vec<SnapshotMeta> {
        let state = self.state();
        let of_group = state.published.iter().filter(|((of, _), _)| *of == group);
        let mut metas: Vec<_> =
            of_group.map(|((_, id), published)| published.manifest.meta(*id)).collect();
        metas.sort_by_key(|meta| meta.last_included.index);
        metas
    }

    /// The log of this group begins after this snapshot, durably: it is kept until the log names
    /// another. Asked at every start and after each write of a new base; without it a snapshot that
    /// the log still names is only kept as one of the two newest.
    pub fn retain(&self, group: GroupId, id: SnapshotId) {
        let names = self.names();
        self.state().named.insert(group, id);
        self.prune(group, &names);
    }

    /// Writes what a state machine froze and publishes it.
    ///
    /// # Errors
    ///
    /// [`SnapshotError`] of the source or of the disk, or if another of the group is being built.
    /// Nothing is published then.
    pub fn build(
        &self,
        group: GroupId,
        capture: &Capture,
        source: &mut dyn SnapshotSource,
    ) -> Result<SnapshotMeta, SnapshotError> {
        self.build_of(group, capture.last_included(), capture.membership(), source)
    }

    /// As [`build`](Self::build), of whatever entry and membership.
    pub(crate) fn build_of(
        &self,
        group: GroupId,
        last_included: EntryId,
        membership: &Membership,
        source: &mut dyn SnapshotSource,
    ) -> Result<SnapshotMeta, SnapshotError> {
        if !self.names().building.insert(group) {
            let text = format!("another snapshot of group {group} is being built");
            return Err(SnapshotError::Io(text));
        }
        let piece = self.directory.join(format!("{group}.data.building"));
        let built = self.write_piece(source, &piece).and_then(|(chunks, digest)| {
            let membership = membership.clone();
            let manifest = Manifest { group, last_included, membership, chunks, digest };
            self.publish_piece(manifest, &piece)
        });
        if built.is_err() {
            // Only room is lost with it, until the next build or start.
            let _ = self.disk.remove(&piece);
        }
        self.names().building.remove(&group);
        let mut state = self.state();
        match &built {
            Ok(_) => state.stats.built += 1,
            Err(error) => state.note_failure(error),
        }
        drop(state);
        built
    }

    fn write_piece(
        &self,
        source: &mut dyn SnapshotSource,
        piece: &Path,
    ) -> Result<(Vec<ChunkFacts>, [u8; 32]), SnapshotError> {
        let file = self.disk.open(piece, OpenMode::Create);
        let file = file.map_err(|error| failed("create", piece, &error))?;
        let mut writer = Writer::new(file, piece.into());
        while let Some(bytes) = source.next_chunk()? {
            writer.write(&bytes)?;
        }
        writer.finish()
    }

    fn publish_piece(
        &self,
        manifest: Manifest,
        piece: &Path,
    ) -> Result<SnapshotMeta, SnapshotError> {
        let (bytes, id) = manifest.encode();
        let (group, meta) = (manifest.group, manifest.meta(id));
        let names = self.names();
        if self.is_published(group, id) {
            let _ = self.disk.remove(piece);
        } else {
            self.publish(id, piece, manifest, bytes)?;
            self.prune(group, &names);
        }
        Ok(meta)
    }

    fn is_published(&self, group: GroupId, id: SnapshotId) -> bool {
        self.state().published.contains_key(&(group, id))
    }

    /// Gives durable data and its manifest their names, in this order. Names are held.
    fn publish(
        &self,
        id: SnapshotId,
        data: &Path,
        manifest: Manifest,
        bytes: Bytes,
    ) -> Result<(), SnapshotError> {
        let name = name(manifest.group, manifest.last_included.index.get(), id);
        let (to, draft) = (self.path(&name, "data"), self.path(&name, "manifest.draft"));
        let (disk, directory) = (&self.disk, &self.directory);
        let sync =
            || disk.sync_directory(directory).map_err(|error| failed("sync", directory, &error));
        disk.rename(data, &to).map_err(|error| failed("rename", data, &error))?;
        sync()?;
        write_file(disk.as_ref(), &draft, &bytes)?;
        let target = self.path(&name, "manifest");
        disk.rename(&draft, &target).map_err(|error| failed("rename", &draft, &error))?;
        sync()?;
        let group = manifest.group;
        let published = Published { manifest: Arc::new(manifest), bytes, is_in_use: false };
        let mut state = self.state();
        state.damaged.remove(&name);
        state.published.insert((group, id), published);
        Ok(())
    }

    /// A sink for a snapshot that a peer offers. What an earlier fetch of the same has brought is
    /// taken over; of others it is removed.
    ///
    /// # Errors
    ///
    /// [`SnapshotError::Io`], with the file.
    pub fn receive(
        self: &Arc<Self>,
        group: GroupId,
        meta: &SnapshotMeta,
    ) -> Result<Receiver, SnapshotError> {
        Receiver::open(self, group, meta)
    }

    /// The bytes of a snapshot that is here, each chunk verified as it is read.
    ///
    /// # Errors
    ///
    /// [`SnapshotError::Gone`] if it is not here; [`SnapshotError::Malformed`], with the file, if
    /// it is and does not read.
    pub fn open_source(
        self: &Arc<Self>,
        group: GroupId,
        id: SnapshotId,
    ) -> Result<Box<dyn SnapshotSource>, SnapshotError> {
        self.find(group, id)?;
        Ok(Box::new(Source { manager: Arc::clone(self), group, id, next: 1 }))
    }

    fn find(&self, group: GroupId, id: SnapshotId) -> Result<Published, SnapshotError> {
        let mut state = self.state();
        if let Some(published) = state.published.get_mut(&(group, id)) {
            published.is_in_use = true;
            return Ok(published.clone());
        }
        let (begins, ends) = (format!("{group}-"), format!("-{:032x}", id.get()));
        let is_it = |name: &String| name.starts_with(&begins) && name.ends_with(&ends);
        let damaged = state.damaged.iter().find(|(name, _)| is_it(name));
        Err(damaged.map_or(SnapshotError::Gone, |(_, why)| SnapshotError::malformed(why)))
    }

    /// Lets go of all but the newest of a group, the one its log names, and what was read since the
    /// last time. What cannot be removed now is removed later.
    fn prune(&self, group: GroupId, _: &MutexGuard<'_, Names>) {
        let mut metas = self.list_of(group);
        metas.truncate(metas.len().saturating_sub(KEPT));
        let mut gone = Vec::new();
        let mut state = self.state();
        let named = state.named.get(&group).copied();
        for meta in metas.iter().filter(|meta| named != Some(meta.id)) {
            let key = (group, meta.id);
            let held = state.published.get_mut(&key).map(|held| &mut held.is_in_use);
            if held.is_some_and(core::mem::take) {
                continue;
            }
            state.published.remove(&key);
            state.stats.removed += 1;
            gone.push(name(group, meta.last_included.index.get(), meta.id));
        }
        drop(state);
        if gone.is_empty() {
            return;
        }
        // The manifest first, durably: after a crash data without one is swept away, and a manifest
        // without data would be believed.
        let manifests =
            gone.iter().all(|name| self.disk.remove(&self.path(name, "manifest")).is_ok());
        if manifests && self.disk.sync_directory(&self.directory).is_ok() {
            for name in gone {
                let _ = self.disk.remove(&self.path(&name, "data"));
            }
        }
    }

    fn list(&self) -> Result<Vec<PathBuf>, SnapshotError> {
        let listed = self.disk.list(&self.directory);
        listed.map_err(|error| failed("list", &self.directory, &error))
    }

    /// Takes up a snapshot of an earlier process, or notes that it does not read.
    fn load(&self, path: &Path) -> Result<(), SnapshotError> {
        let bytes = read_file(self.disk.as_ref(), path)?;
        let named = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        let checked = Manifest::decode(&bytes).map_err(|why| format!("{}: {why}", path.display()));
        let checked = checked.and_then(|(manifest, id)| {
            self.check_files(named, &manifest, id)?;
            Ok((manifest, id))
        });
        let mut state = self.state();
        match checked {
            Ok((manifest, id)) => {
                let key = (manifest.group, id);
                let published = Published { manifest: Arc::new(manifest), bytes, is_in_use: false };
                state.published.insert(key, published);
            }
            Err(why) => state.note_damage(named.into(), why),
        }
        Ok(())
    }

    /// Checks that the manifest has the name of its snapshot, and its data beside it.
    fn check_files(&self, named: &str, manifest: &Manifest, id: SnapshotId) -> Result<(), String> {
        let own = name(manifest.group, manifest.last_included.index.get(), id);
        if own != named {
            return Err(format!("{}: it is of {own}", self.path(named, "manifest").display()));
        }
        let path = self.path(named, "data");
        let file = self.disk.open(&path, OpenMode::Read);
        let found = file.and_then(|file| file.bytes());
        let found = found.map_err(|error| failed("open", &path, &error).to_string())?;
        let expected = manifest.data_bytes();
        if found == expected {
            return Ok(());
        }
        Err(format!("{}: {found} bytes, not {expected}", path.display()))
    }

    /// Removes what no snapshot needs: pieces of builds, data without its manifest, and pieces of
    /// receptions that a later snapshot has outrun.
    fn sweep(&self) -> Result<(), SnapshotError> {
        let files = self.list()?;
        let state = self.state();
        let of = |(group, id): &(GroupId, SnapshotId), held: &Published| {
            name(*group, held.manifest.last_included.index.get(), *id)
        };
        let known: BTreeSet<String> =
            state.published.iter().map(|(key, held)| of(key, held)).collect();
        let is_held = |name: &str| known.contains(name) || state.damaged.contains_key(name);
        // Names of a group sort by index.
        let is_outrun = |name: &str| {
            let group = name.split_once('-').map_or("", |(group, _)| group);
            known.iter().any(|held| {
                held.as_str() >= name && held.split_once('-').is_some_and(|(of, _)| of == group)
            })
        };
        for path in &files {
            let file = path.file_name().and_then(|file| file.to_str()).unwrap_or_default();
            let is_needed = match file.split_once('.') {
                // Data that was received and whose manifest was yet to get its name.
                Some((name, "data")) => {
                    let begun = files.contains(&self.path(name, "manifest.part"));
                    is_held(name) || begun && !is_outrun(name)
                }
                Some((name, "manifest")) => is_held(name),
                Some((name, "manifest.part" | "data.part")) => !is_outrun(name),
                Some((_, "manifest.draft" | "data.building")) => false,
                // None of ours: not ours to remove.
                Some(_) | None => true,
            };
            if !is_needed {
                self.disk.remove(path).map_err(|error| failed("remove", path, &error))?;
            }
        }
        Ok(())
    }

    fn path(&self, name: &str, ending: &str) -> PathBuf {
        self.directory.join(format!("{name}.{ending}"))
    }

    fn read_chunk(
        &self,
        published: &Published,
        id: SnapshotId,
        place: usize,
    ) -> Result<Bytes, SnapshotError> {
        let manifest = &published.manifest;
        let facts = *manifest.chunks.get(place).ok_or(SnapshotError::Gone)?;
        let path = self.path(&name(manifest.group, manifest.last_included.index.get(), id), "data");
        let file = self.disk.open(&path, OpenMode::Read);
        let file = file.map_err(|error| failed("open", &path, &error))?;
        let read = read_verified(file.as_ref(), &path, Manifest::offset(place), facts);
        if let Err(SnapshotError::Malformed(why)) = &read {
            // It is here no longer, so that a fetch or a build of the same may take its place.
            let name = name(manifest.group, manifest.last_included.index.get(), id);
            let mut state = self.state();
            state.published.remove(&(manifest.group, id));
            state.note_damage(name, why.clone());
        }
        read
    }
}

impl ChunkStore for SnapshotManager {
    fn chunk(&self, group: GroupId, id: SnapshotId, number: u32) -> Result<Chunk, SnapshotError> {
        let published = self.find(group, id)?;
        let bytes = match number.checked_sub(1) {
            None => published.bytes,
            Some(place) => self.read_chunk(&published, id, place as usize)?,
        };
        self.state().stats.chunks_served += 1;
        Ok(Chunk::new(number, bytes))
    }
}

/// The data of a snapshot for a state machine.
struct Source {
    manager: Arc<SnapshotManager>,
    group: GroupId,
    id: SnapshotId,
    next: u32,
}

impl SnapshotSource for Source {
    fn next_chunk(&mut self) -> Result<Option<Bytes>, SnapshotError> {
        let published = self.manager.find(self.group, self.id)?;
        let place = self.next as usize - 1;
        if place == published.manifest.chunks.len() {
            return Ok(None);
        }
        self.next += 1;
        self.manager.read_chunk(&published, self.id, place).map(Some)
    }
}

impl State {
    fn note_damage(&mut self, name: String, why: String) {
        self.stats.damaged += 1;
        self.stats.last_error = Some(why.clone());
        self.damaged.insert(name, why);
    }

    fn note_failure(&mut self, error: &SnapshotError) {
        self.stats.failed += 1;
        self.stats.last_error = Some(error.to_string());
    }
}

/// The name of a snapshot, without an ending. Sorts by group and index.
fn name(group: GroupId, index: u64, id: SnapshotId) -> String {
    format!("{group}-{index:016x}-{:032x}", id.get())
}

impl std::fmt::Debug for SnapshotManager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotManager")
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}
