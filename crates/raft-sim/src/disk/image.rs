//! Files as they are and as they survive, and a history that can be taken back.
//!
//! Every change of a job is noted with its moment and what it replaced. A crash takes back what
//! came after it. Read next: `port.rs`.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::choice::{Choices, Site, mix};

/// A file.
#[derive(Clone, Debug, Default)]
pub(super) struct File {
    /// What reads see.
    pub(super) view: Vec<u8>,
    /// What surely survives a power loss.
    pub(super) durable: Vec<u8>,
    /// Pending blocks, in the order they were first written.
    pending: Vec<usize>,
    is_pending: Vec<bool>,
    /// Clean blocks whose view differs from what is durable: a sync failed, or the medium rotted.
    pub(super) unlike: Vec<usize>,
    /// What a block held before it was last synced, if that was anything.
    pub(super) previous: BTreeMap<usize, Vec<u8>>,
    /// Blocks that cannot be read.
    pub(super) unreadable: Vec<usize>,
    /// In which sync of this file a block became durable; zero: in none.
    pub(super) generation: Vec<u32>,
    /// Syncs of this file that had something to do.
    pub(super) generations: u32,
    /// It has no bytes; what is below its name goes with it.
    is_directory: bool,
}

impl File {
    pub(super) fn len(&self) -> usize {
        self.view.len()
    }
}

/// A name that was given or taken since the directory was synced.
#[derive(Clone, Debug)]
pub(super) enum NameChange {
    Given(PathBuf, usize),
    Taken(PathBuf),
    Moved(PathBuf, PathBuf, usize),
}

/// All files, by number, and their names.
#[derive(Clone, Debug)]
pub(super) struct Image {
    block: usize,
    files: Vec<File>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    pending_names: Vec<NameChange>,
    history: Vec<Change>,
    /// When the change under way takes effect.
    pub(super) now: u64,
}

#[derive(Clone, Debug)]
struct Change {
    at: u64,
    what: Undo,
}

/// What takes a change back.
#[derive(Clone, Debug)]
enum Undo {
    Write { file: usize, at: usize, old: Vec<u8>, len: usize, pending: usize },
    Sync { file: usize, blocks: Vec<(usize, u32)>, old: Vec<u8>, len: usize },
    Names { names: BTreeMap<PathBuf, usize>, pending: Vec<NameChange> },
    SyncNames { durable: BTreeMap<PathBuf, usize>, pending: Vec<NameChange> },
}

impl Image {
    pub(super) fn new(block: usize) -> Self {
        Self {
            block,
            files: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            pending_names: Vec::new(),
            history: Vec::new(),
            now: 0,
        }
    }

    pub(super) const fn block(&self) -> usize {
        self.block
    }

    pub(super) fn forget_history(&mut self) {
        self.history.clear();
    }

    /// The moments of the changes that can be taken back.
    pub(super) fn changes(&self) -> impl Iterator<Item = u64> {
        self.history.iter().map(|change| change.at)
    }

    /// Names with their files.
    pub(super) fn names(&self) -> impl Iterator<Item = (&PathBuf, &File)> {
        self.names.iter().map(|(path, file)| (path, &self.files[*file]))
    }

    /// The number of the file with this name.
    pub(super) fn find(&self, path: &Path) -> Option<usize> {
        self.names.get(path).copied()
    }

    pub(super) fn file(&self, file: usize) -> &File {
        &self.files[file]
    }

    pub(super) fn file_mut(&mut self, file: usize) -> &mut File {
        &mut self.files[file]
    }

    /// Bytes of all files that have a name.
    pub(super) fn bytes(&self) -> u64 {
        self.names().map(|(_, file)| file.len() as u64).sum()
    }

    /// The newest sync of a file that has returned at this moment: those of a job under way may
    /// still be taken back.
    pub(super) fn settled(&self, file: usize, at: u64) -> u32 {
        let is_open = |change: &&Change| {
            change.at > at
                && matches!(change.what, Undo::Sync { file: synced, .. } if synced == file)
        };
        let open = self.history.iter().filter(is_open).count();
        self.files[file].generations - u32::try_from(open).expect("a job has few syncs")
    }

    /// Pending blocks and names.
    pub(super) fn pending(&self) -> usize {
        let blocks = self.names.values().map(|file| self.files[*file].pending.len());
        blocks.sum::<usize>() + self.pending_names.len()
    }

    /// The same for some files.
    pub(super) fn pending_where(&self, is_meant: impl Fn(&Path) -> bool) -> usize {
        let files = self.names.iter().filter(|(path, _)| is_meant(path));
        let blocks: usize = files.map(|(_, file)| self.files[*file].pending.len()).sum();
        // That a name is gone need not be durable: what comes back is known to be dead.
        let stays = |change: &&NameChange| !matches!(change, NameChange::Taken(_));
        let names = self.pending_names.iter().filter(stays);
        let names = names.filter(|change| is_meant(change.path()));
        blocks + names.count()
    }

    /// A number that is the same for images that nobody can tell apart.
    pub(super) fn digest(&self) -> u64 {
        let mut digest = 0;
        for (path, file) in self.names() {
            add_to(&mut digest, path.as_os_str().as_encoded_bytes());
            add_to(&mut digest, &file.view);
            if file.durable != file.view {
                add_to(&mut digest, &file.durable);
            }
            for number in file.pending.iter().chain(&file.unlike).chain(&file.unreadable) {
                add_to(&mut digest, &number.to_le_bytes());
            }
        }
        for (path, file) in &self.durable_names {
            add_to(&mut digest, path.as_os_str().as_encoded_bytes());
            add_to(&mut digest, &file.to_le_bytes());
        }
        for change in &self.pending_names {
            add_to(&mut digest, format!("{change:?}").as_bytes());
        }
        digest
    }

    // Changes.

    pub(super) fn create(&mut self, path: &Path) -> usize {
        self.note_names();
        let file = self.files.len();
        self.files.push(File::default());
        self.names.insert(path.into(), file);
        self.pending_names.push(NameChange::Given(path.into(), file));
        file
    }

    /// Makes a directory and those above it that are missing.
    pub(super) fn create_directory(&mut self, path: &Path) {
        let mut missing: Vec<&Path> = path.ancestors().collect();
        missing.retain(|path| path.file_name().is_some() && self.find(path).is_none());
        for path in missing.into_iter().rev() {
            let directory = self.create(path);
            self.files[directory].is_directory = true;
        }
    }

    /// A file that is nobody's data, such as a lock: it is there at once.
    pub(super) fn place(&mut self, path: &Path) -> usize {
        if let Some(file) = self.find(path) {
            return file;
        }
        let file = self.files.len();
        self.files.push(File::default());
        self.names.insert(path.into(), file);
        self.durable_names.insert(path.into(), file);
        file
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> bool {
        let Some(file) = self.find(from) else { return false };
        self.note_names();
        self.names.remove(from);
        self.names.insert(to.into(), file);
        self.pending_names.push(NameChange::Moved(from.into(), to.into(), file));
        true
    }

    pub(super) fn remove(&mut self, path: &Path) -> bool {
        if self.find(path).is_none() {
            return false;
        }
        self.note_names();
        self.names.remove(path);
        self.pending_names.push(NameChange::Taken(path.into()));
        true
    }

    fn note_names(&mut self) {
        let what = Undo::Names { names: self.names.clone(), pending: self.pending_names.clone() };
        self.history.push(Change { at: self.now, what });
    }

    pub(super) fn sync_names(&mut self, directory: &Path) {
        let pending = std::mem::take(&mut self.pending_names);
        let durable = self.durable_names.clone();
        let (mine, others): (Vec<_>, Vec<_>) =
            pending.iter().cloned().partition(|change| change.is_in(directory));
        for change in &mine {
            change.carry_out(&mut self.durable_names);
        }
        self.pending_names = others;
        self.history.push(Change { at: self.now, what: Undo::SyncNames { durable, pending } });
    }

    pub(super) fn write(&mut self, file: usize, at: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let block = self.block;
        let target = &mut self.files[file];
        let (len, end) = (target.view.len(), at + bytes.len());
        let old = target.view[at.min(len)..end.min(len)].to_vec();
        if end > len {
            target.view.resize(end, 0);
        }
        target.view[at..end].copy_from_slice(bytes);
        let pending = target.pending.len();
        target.mark(at.min(len) / block, end.div_ceil(block));
        self.history
            .push(Change { at: self.now, what: Undo::Write { file, at, old, len, pending } });
    }

    pub(super) fn sync(&mut self, file: usize) {
        let block = self.block;
        let target = &mut self.files[file];
        if target.pending.is_empty() {
            return;
        }
        target.generations += 1;
        let len = target.durable.len();
        target.durable.resize(target.view.len(), 0);
        let mut old = Vec::with_capacity(target.pending.len() * block);
        let mut blocks = Vec::with_capacity(target.pending.len());
        for number in std::mem::take(&mut target.pending) {
            let range = range_of(number, block, target.view.len());
            old.extend_from_slice(&target.durable[range.clone()]);
            if target.durable[range.clone()].iter().any(|byte| *byte != 0) {
                target.previous.insert(number, target.durable[range.clone()].to_vec());
            }
            target.durable[range.clone()].copy_from_slice(&target.view[range]);
            target.is_pending[number] = false;
            blocks.push((number, target.generation[number]));
            target.generation[number] = target.generations;
        }
        self.history.push(Change { at: self.now, what: Undo::Sync { file, blocks, old, len } });
    }

    /// A sync failed: the pages are called clean, and what became of them is chosen.
    pub(super) fn fail_sync(&mut self, file: usize, shows_old: bool, choices: &Choices) {
        let block = self.block;
        let target = &mut self.files[file];
        target.durable.resize(target.view.len(), 0);
        for number in std::mem::take(&mut target.pending) {
            target.is_pending[number] = false;
            let range = range_of(number, block, target.view.len());
            if choices.chance(Site::FailedSync, 500_000) {
                target.durable[range.clone()].copy_from_slice(&target.view[range]);
            } else if shows_old {
                let old = target.durable[range.clone()].to_vec();
                target.view[range].copy_from_slice(&old);
            } else {
                target.unlike.push(number);
            }
        }
        // What a failed sync did cannot be taken back: nobody knows it anyway.
        self.history.clear();
    }

    /// What memory shows of clean blocks is read from the medium again.
    pub(super) fn drop_cache(&mut self, file: usize) {
        let block = self.block;
        let target = &mut self.files[file];
        for number in std::mem::take(&mut target.unlike) {
            let range = range_of(number, block, target.view.len().min(target.durable.len()));
            if !target.is_pending[number] && !range.is_empty() {
                let durable = target.durable[range.clone()].to_vec();
                target.view[range].copy_from_slice(&durable);
            }
        }
    }

    // Crashes.

    /// Takes back what happened after this moment. The first change after it may have been under
    /// way: a write may have reached memory.
    pub(super) fn rewind(&mut self, at: u64, keeps_one_more: bool) {
        while let Some(change) = self.history.pop_if(|change| change.at > at) {
            let is_first = self.history.last().is_none_or(|before| before.at <= at);
            let is_write = matches!(change.what, Undo::Write { .. });
            if !(is_first && is_write && keeps_one_more) {
                self.take_back(change.what);
            }
        }
        self.history.clear();
        self.now = at;
    }

    fn take_back(&mut self, what: Undo) {
        let block = self.block;
        match what {
            Undo::Write { file, at, old, len, pending } => {
                let target = &mut self.files[file];
                target.view[at.min(len)..at.min(len) + old.len()].copy_from_slice(&old);
                target.view.truncate(len);
                for number in target.pending.drain(pending..) {
                    target.is_pending[number] = false;
                }
            }
            Undo::Sync { file, blocks, old, len } => {
                let target = &mut self.files[file];
                let mut from = 0;
                for (number, generation) in blocks {
                    let range = range_of(number, block, target.durable.len());
                    let bytes = &old[from..from + range.len()];
                    from += range.len();
                    target.durable[range].copy_from_slice(bytes);
                    target.generation[number] = generation;
                    target.pending.push(number);
                    target.is_pending[number] = true;
                }
                target.durable.truncate(len);
            }
            Undo::Names { names, pending } => {
                (self.names, self.pending_names) = (names, pending);
            }
            Undo::SyncNames { durable, pending } => {
                (self.durable_names, self.pending_names) = (durable, pending);
            }
        }
    }

    /// The power fails. Returns how many blocks were lost and torn.
    pub(super) fn lose_power(&mut self, choices: &Choices, tears: (usize, bool)) -> (u64, u64) {
        // All of it survives, none of it, or each piece by itself.
        let mood = choices.choose(Site::PowerLoss, 4);
        for change in std::mem::take(&mut self.pending_names) {
            let survives = match mood {
                0 => true,
                1 => false,
                _ => !choices.chance(Site::PowerLoss, 500_000),
            };
            if survives {
                change.carry_out(&mut self.durable_names);
            }
        }
        self.lose_what_is_below();
        self.names.clone_from(&self.durable_names);
        let (mut lost, mut torn) = (0, 0);
        for file in self.names.values() {
            let target = &mut self.files[*file];
            let fate = target.lose_power((self.block, tears), mood, choices);
            lost += fate.0;
            torn += fate.1;
        }
        (lost, torn)
    }

    /// What is below the name of a directory that did not survive cannot be reached.
    fn lose_what_is_below(&mut self) {
        let files = &self.files;
        let gone = |path: &Path, file: usize| {
            files[file].is_directory && !self.durable_names.contains_key(path)
        };
        let names = self.names.iter().filter(|(path, file)| gone(path, **file));
        let gone: Vec<PathBuf> = names.map(|(path, _)| path.clone()).collect();
        for directory in gone {
            self.durable_names.retain(|path, _| !path.starts_with(&directory));
        }
    }
}

impl File {
    fn mark(&mut self, from: usize, to: usize) {
        if self.is_pending.len() < to {
            self.is_pending.resize(to, false);
            self.generation.resize(to, 0);
        }
        for number in from..to {
            if !self.is_pending[number] {
                self.is_pending[number] = true;
                self.pending.push(number);
            }
        }
    }

    fn lose_power(
        &mut self,
        (block, tears): (usize, (usize, bool)),
        mood: u64,
        choices: &Choices,
    ) -> (u64, u64) {
        let (mut lost, mut torn) = (0, 0);
        // The length is a fact of its own: it may survive where the content does not.
        let grew = self.view.len() > self.durable.len();
        if grew && (mood == 0 || (mood > 1 && !choices.chance(Site::PowerLoss, 500_000))) {
            self.durable.resize(self.view.len(), 0);
        }
        for number in std::mem::take(&mut self.pending) {
            self.is_pending[number] = false;
            let range = range_of(number, block, self.durable.len().min(self.view.len()));
            if range.is_empty() {
                lost += 1;
                continue;
            }
            let fate = match mood {
                0 => 0,
                1 => 1,
                _ => choices.choose(Site::PowerLoss, 3),
            };
            match fate {
                0 => self.durable[range.clone()].copy_from_slice(&self.view[range]),
                1 => lost += 1,
                _ => {
                    torn += 1;
                    self.tear(range, tears, choices);
                }
            }
        }
        self.view.clone_from(&self.durable);
        self.unlike.clear();
        (lost, torn)
    }

    /// A block was being written when the power failed: a part of it is new, or some of it garbage.
    fn tear(&mut self, range: Range<usize>, tears: (usize, bool), choices: &Choices) {
        let (multiple, to_garbage) = tears;
        let cut = choices.choose(Site::PowerLoss, range.len().div_ceil(multiple) as u64);
        let cut = usize::try_from(cut).expect("below the length of a block");
        let cut = range.start + cut * multiple;
        let new = if choices.chance(Site::PowerLoss, 500_000) {
            cut..range.end
        } else {
            range.start..cut
        };
        self.durable[new.clone()].copy_from_slice(&self.view[new]);
        if to_garbage && choices.chance(Site::PowerLoss, 250_000) {
            for (i, byte) in self.durable[cut..range.end].iter_mut().enumerate() {
                *byte ^= u8::try_from(i % 251).unwrap_or(0) | 1;
            }
        }
    }
}

impl NameChange {
    fn path(&self) -> &Path {
        match self {
            Self::Given(path, _) | Self::Taken(path) | Self::Moved(_, path, _) => path,
        }
    }

    fn is_in(&self, directory: &Path) -> bool {
        self.path().parent() == Some(directory)
    }

    fn carry_out(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Self::Given(path, file) => {
                names.insert(path.clone(), *file);
            }
            Self::Taken(path) => {
                names.remove(path);
            }
            Self::Moved(from, to, file) => {
                names.remove(from);
                names.insert(to.clone(), *file);
            }
        }
    }
}

/// Adds bytes to a digest, quickly where they are zeros: most of a disk is.
fn add_to(digest: &mut u64, bytes: &[u8]) {
    const ZEROS: [u8; 4096] = [0; 4096];
    *digest = mix(*digest ^ bytes.len() as u64);
    for (number, block) in bytes.chunks(ZEROS.len()).enumerate() {
        if block == &ZEROS[..block.len()] {
            continue;
        }
        for (piece, bytes) in block.chunks(64).enumerate() {
            if bytes == &ZEROS[..bytes.len()] {
                continue;
            }
            *digest = mix(*digest ^ (number * 64 + piece) as u64);
            for word in bytes.chunks(8) {
                let mut eight = [0; 8];
                eight[..word.len()].copy_from_slice(word);
                *digest = mix(*digest ^ u64::from_le_bytes(eight));
            }
        }
    }
}

/// The bytes of a block, cut at the end of the file.
pub(super) fn range_of(number: usize, block: usize, len: usize) -> Range<usize> {
    let start = (number * block).min(len);
    start..(start + block).min(len)
}
