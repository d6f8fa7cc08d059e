//! The seam to files: `trait Disk`, the real one, and what else a host knows.
//!
//! * Every file is touched through [`Disk`] and [`DiskFile`], so that a simulator can lose, tear,
//!   rot and refuse exactly what real disks do.
//! * Random numbers, the time and the boot id come from the [`Environment`], so that the same run
//!   can be had twice.
//!
//! Read next: `file/wal.rs`, their main user.

#![expect(clippy::disallowed_types, reason = "the one place that touches files")]

use core::fmt;
use core::time::Duration;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, IoSlice, Read, Seek, Write};
use std::path::{Path, PathBuf};

/// A disk as `FileStorage` uses it. Blocking and object-safe.
pub trait Disk: Send + Sync {
    /// Creates a directory and the parents it lacks; an existing one is left alone.
    fn create_directory(&self, path: &Path) -> io::Result<()>;

    /// Opens a file.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn DiskFile>>;

    /// The paths of everything in a directory, ascending.
    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>>;

    /// Gives a file another name, replacing what had it. Durable after the directory is synced.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file. Durable after the directory is synced.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    fn sync_directory(&self, directory: &Path) -> io::Result<()>;

    /// Locks a file, creating it if needed, until the lock is dropped or the process ends.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`] if somebody else holds it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>>;

    /// Bytes that an ordinary user may still write below this directory.
    fn free_bytes(&self, directory: &Path) -> io::Result<u64>;

    /// Bytes of the whole file system below this directory; `u64::MAX` where nobody knows.
    fn total_bytes(&self, _directory: &Path) -> io::Result<u64> {
        Ok(u64::MAX)
    }
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// It exists, and is only read.
    Read,
    /// It exists, and is read and written.
    ReadWrite,
    /// It is created empty; what had its name is emptied.
    Create,
}

/// An open file.
pub trait DiskFile: Send {
    /// Reads at a place; may return less than asked, and zero at the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes at a place; may write less than given.
    fn write_at(&mut self, buffers: &[IoSlice<'_>], offset: u64) -> io::Result<usize>;

    /// Makes what was written durable, with all that is needed to read it back. After an error
    /// nobody knows what is durable: never try again.
    fn sync_data(&mut self) -> io::Result<()>;

    /// Makes the file this long by writing zeros at its end, so that later writes need no new
    /// blocks. A longer file is left alone.
    fn allocate_zeroed(&mut self, bytes: u64) -> io::Result<()>;

    /// Its length.
    fn bytes(&self) -> io::Result<u64>;

    /// Asks that the next read comes from the medium and not from memory. A wish, nothing more.
    fn drop_cache(&self) -> io::Result<()>;
}

/// A lock that is held while it lives.
pub trait DiskLock: Send {
    /// Replaces the text inside, which tells people who holds it.
    fn write_text(&mut self, text: &str) -> io::Result<()>;
}

/// What a host knows and a storage must not find out by itself.
pub struct Environment {
    /// Time since any fixed moment; measures how long syncs take and decides nothing.
    pub clock: Box<dyn Fn() -> Duration + Send>,
    /// Unpredictable numbers: a client that could guess a salt could forge a batch.
    pub random: Box<dyn FnMut() -> io::Result<u128> + Send>,
    /// Nanoseconds since 1970 for people who look at a file; decides nothing.
    pub unix_ns: Box<dyn Fn() -> u64 + Send>,
    /// Another number after each start of the operating system, and after nothing less; zero if
    /// unknown. Decides only where the log is not synced before it is acknowledged.
    pub boot_id: u128,
    /// The process id, for the lock file.
    pub process: u32,
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment")
            .field("boot_id", &self.boot_id)
            .field("process", &self.process)
            .finish_non_exhaustive()
    }
}

impl Environment {
    /// What the operating system says.
    ///
    /// # Errors
    ///
    /// If it has no source of random numbers.
    #[expect(clippy::disallowed_methods, reason = "the one clock of this host")]
    pub fn system() -> io::Result<Self> {
        let mut source = File::open("/dev/urandom")?;
        let began = std::time::Instant::now();
        Ok(Self {
            clock: Box::new(move || began.elapsed()),
            random: Box::new(move || {
                let mut bytes = [0; 16];
                source.read_exact(&mut bytes)?;
                Ok(u128::from_le_bytes(bytes))
            }),
            unix_ns: Box::new(|| {
                let now = std::time::SystemTime::now();
                let since = now.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
                u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
            }),
            boot_id: system_boot_id().unwrap_or(0),
            process: std::process::id(),
        })
    }

    /// The same numbers for the same seed, for simulations and tests: time stands still and the
    /// boot id is unknown.
    pub fn from_seed(seed: u64) -> Self {
        let mut state = seed;
        Self {
            clock: Box::new(|| Duration::ZERO),
            random: Box::new(move || {
                let high = u128::from(splitmix(&mut state));
                Ok(high << 64 | u128::from(splitmix(&mut state)))
            }),
            unix_ns: Box::new(|| 0),
            boot_id: 0,
            process: 0,
        }
    }
}

/// One step of `SplitMix64`.
fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Linux draws a random number at each start; other systems tell nothing comparable.
fn system_boot_id() -> Option<u128> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    u128::from_str_radix(&text.trim().replace('-', ""), 16).ok()
}

/// The disk of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        match mode {
            OpenMode::Read => options.read(true),
            OpenMode::ReadWrite => options.read(true).write(true),
            OpenMode::Create => options.read(true).write(true).create(true).truncate(true),
        };
        Ok(Box::new(RealFile { file: options.open(path)? }))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        let mut paths = fs::read_dir(directory)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<io::Result<Vec<_>>>()?;
        paths.sort();
        Ok(paths)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        File::open(directory)?.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(RealLock { file })),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn free_bytes(&self, directory: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(directory)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn total_bytes(&self, directory: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(directory)?;
        Ok(stat.f_blocks.saturating_mul(stat.f_frsize))
    }
}

struct RealFile {
    file: File,
}

impl DiskFile for RealFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(&self.file, buffer, offset)
    }

    fn write_at(&mut self, buffers: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        Ok(rustix::io::pwritev(&self.file, buffers, offset)?)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn allocate_zeroed(&mut self, bytes: u64) -> io::Result<()> {
        let mut at = self.bytes()?;
        while at < bytes {
            let wanted = (bytes - at).min(FILL_BYTES);
            let slices: Vec<IoSlice<'_>> = (0..wanted.div_ceil(ZEROS_BYTES))
                .map(|i| (wanted - i * ZEROS_BYTES).min(ZEROS_BYTES))
                .map(|len| IoSlice::new(zeros(len)))
                .collect();
            let written = retry_interrupted(|| self.write_at(&slices, at))?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            at += written as u64;
        }
        Ok(())
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn drop_cache(&self) -> io::Result<()> {
        #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
        rustix::fs::fadvise(&self.file, 0, None, rustix::fs::Advice::DontNeed)?;
        Ok(())
    }
}

struct RealLock {
    file: File,
}

impl DiskLock for RealLock {
    fn write_text(&mut self, text: &str) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.file.write_all(text.as_bytes())
    }
}

/// Calls again what a signal interrupted; that is no error of the disk.
pub(crate) fn retry_interrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// Up to [`ZEROS_BYTES`] zeros.
pub(crate) fn zeros(len: u64) -> &'static [u8] {
    static ZEROS: [u8; 1 << 16] = [0; 1 << 16];
    let len = usize::try_from(len).unwrap_or(ZEROS.len());
    &ZEROS[..len.min(ZEROS.len())]
}

/// At most this many bytes of zeros come from [`zeros`] at once.
pub(crate) const ZEROS_BYTES: u64 = 1 << 16;

/// At most this many zeros in one system call: sixteen slices.
const FILL_BYTES: u64 = 1 << 20;
