//! What laws of disks are written with: a disk, its root, and calls that must succeed.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use raft_storage::disk::{Disk, DiskFile, OpenMode};

use super::super::{Finding, Verdict, broken, ensure};
use super::DiskSubject;

/// A disk under examination.
pub(super) struct Stage<'a> {
    pub(super) subject: &'a mut dyn DiskSubject,
    pub(super) root: PathBuf,
    disk: Option<Arc<dyn Disk>>,
}

impl<'a> Stage<'a> {
    pub(super) fn new(subject: &'a mut dyn DiskSubject) -> Self {
        let (disk, root) = subject.blank();
        Self { subject, root, disk: Some(disk) }
    }

    /// Goes on with another blank disk.
    pub(super) fn renew(&mut self) {
        self.disk = None;
        let (disk, root) = self.subject.blank();
        (self.disk, self.root) = (Some(disk), root);
    }

    pub(super) fn disk(&self) -> &dyn Disk {
        self.disk.as_deref().expect("a power loss gives a disk back")
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub(super) fn lose_power(&mut self) -> Verdict {
        let disk = self.disk.take().expect("a power loss gives a disk back");
        self.disk = Some(self.subject.power_loss(disk)?);
        Ok(())
    }

    /// A new file with this name.
    pub(super) fn create(&self, name: &str) -> Result<Handle, Finding> {
        self.open(name, OpenMode::Create)
    }

    pub(super) fn open(&self, name: &str, mode: OpenMode) -> Result<Handle, Finding> {
        let opened = self.disk().open(&self.path(name), mode);
        let file = opened.map_err(|error| broken(format_args!("cannot open {name}: {error}")))?;
        Ok(Handle { name: name.into(), file })
    }

    /// The file, if it is there.
    pub(super) fn find(&self, name: &str) -> Result<Option<Handle>, Finding> {
        match self.disk().open(&self.path(name), OpenMode::Read) {
            Ok(file) => Ok(Some(Handle { name: name.into(), file })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(broken(format_args!("cannot open {name}: {error}"))),
        }
    }

    /// What is in the file, if it is there.
    pub(super) fn content(&self, name: &str) -> Result<Option<Vec<u8>>, Finding> {
        self.find(name)?.map(|file| file.all()).transpose()
    }

    /// A file with this content, all of it durable.
    pub(super) fn durable(&self, name: &str, bytes: &[u8]) -> Result<Handle, Finding> {
        let mut file = self.create(name)?;
        file.write(0, bytes)?;
        file.sync()?;
        self.sync_root()?;
        Ok(file)
    }

    pub(super) fn sync_root(&self) -> Verdict {
        let synced = self.disk().sync_directory(&self.root);
        synced.map_err(|error| broken(format_args!("cannot sync the directory: {error}")))
    }

    pub(super) fn rename(&self, from: &str, to: &str) -> Verdict {
        let renamed = self.disk().rename(&self.path(from), &self.path(to));
        renamed.map_err(|error| broken(format_args!("cannot rename {from} to {to}: {error}")))
    }

    pub(super) fn remove(&self, name: &str) -> Verdict {
        let removed = self.disk().remove(&self.path(name));
        removed.map_err(|error| broken(format_args!("cannot remove {name}: {error}")))
    }

    pub(super) fn list(&self, directory: &Path) -> Result<Vec<PathBuf>, Finding> {
        let listed = self.disk().list(directory);
        listed.map_err(|error| broken(format_args!("cannot list a directory: {error}")))
    }
}

/// An open file with its name.
pub(super) struct Handle {
    name: String,
    pub(super) file: Box<dyn DiskFile>,
}

impl Handle {
    /// Writes all of it, in as many pieces as the disk likes.
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) -> Verdict {
        self.try_write(offset, bytes)?
            .map_err(|error| broken(format_args!("cannot write to {}: {error}", self.name)))
    }

    /// The same; the inner error is what the disk says.
    pub(super) fn try_write(
        &mut self,
        offset: u64,
        bytes: &[u8],
    ) -> Result<io::Result<()>, Finding> {
        let mut done = 0;
        while done < bytes.len() {
            let rest = &bytes[done..];
            let (one, two) = rest.split_at(rest.len() / 3);
            let slices = [IoSlice::new(one), IoSlice::new(two)];
            let written = match self.file.write_at(&slices, offset + done as u64) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Ok(Err(error)),
                Ok(written) => written,
            };
            ensure((1..=rest.len()).contains(&written), || {
                format!("a write of {} bytes says that it wrote {written}", rest.len())
            })?;
            done += written;
        }
        Ok(Ok(()))
    }

    /// What is there, up to the end of the file.
    pub(super) fn read(&self, offset: u64, len: usize) -> Result<Vec<u8>, Finding> {
        let mut bytes = vec![0xee; len];
        let mut done = 0;
        while done < len {
            let read = match self.file.read_at(&mut bytes[done..], offset + done as u64) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    return Err(broken(format_args!("cannot read {}: {error}", self.name)));
                }
                Ok(read) => read,
            };
            ensure(read <= len - done, || {
                format!("a read of {} bytes says that it read {read}", len - done)
            })?;
            if read == 0 {
                break;
            }
            done += read;
        }
        bytes.truncate(done);
        Ok(bytes)
    }

    /// Its whole content, which must be as long as the file says.
    pub(super) fn all(&self) -> Result<Vec<u8>, Finding> {
        let len = usize::try_from(self.len()?).expect("files of the kit are small");
        let bytes = self.read(0, len + 1)?;
        ensure(bytes.len() == len, || {
            format!("{} has {len} bytes by its length, {} by reading", self.name, bytes.len())
        })?;
        Ok(bytes)
    }

    pub(super) fn len(&self) -> Result<u64, Finding> {
        self.file.bytes().map_err(|error| broken(format_args!("cannot measure a file: {error}")))
    }

    pub(super) fn sync(&mut self) -> Verdict {
        let synced = self.file.sync_data();
        synced.map_err(|error| broken(format_args!("cannot sync {}: {error}", self.name)))
    }

    pub(super) fn allocate(&mut self, bytes: u64) -> Verdict {
        let allocated = self.file.allocate_zeroed(bytes);
        allocated.map_err(|error| broken(format_args!("cannot allocate {bytes} bytes: {error}")))
    }

    /// The file must hold these bytes here.
    pub(super) fn must_hold(&self, offset: u64, expected: &[u8], when: &str) -> Verdict {
        let found = self.read(offset, expected.len())?;
        same(&found, expected, format_args!("{when}, {} from {offset} on", self.name))
    }
}

/// Two contents must be the same.
pub(super) fn same(found: &[u8], expected: &[u8], what: impl std::fmt::Display) -> Verdict {
    let differs = found.iter().zip(expected).position(|(found, expected)| found != expected);
    if let Some(at) = differs {
        let (found, expected) = (found[at], expected[at]);
        let how = format_args!("{what}: byte {at} is {found:#04x} and should be {expected:#04x}");
        return Err(broken(how));
    }
    ensure(found.len() == expected.len(), || {
        format!("{what}: {} bytes are there of {}", found.len(), expected.len())
    })
}

/// Bytes that are never zero and differ between places and between marks.
pub(super) fn pattern(mark: u8, len: usize) -> Vec<u8> {
    let byte = |at: usize| u8::try_from(at % 61).expect("below 61") * 4 + mark % 4 + 1;
    (0..len).map(byte).collect()
}
