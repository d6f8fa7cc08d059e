//! A backup before it has its name.
//!
//! * `FILE.part` is locked while it is written, so that two savings of one file do not mix.
//! * It is durable before it is verified, and verified before it is called `FILE`; the name is
//!   durable before anybody is told.
//! * Whatever goes wrong, it is removed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::error::CliError;

/// A file that is being saved. Dropping it removes it.
pub(crate) struct Draft {
    file: PathBuf,
    part: PathBuf,
    output: File,
    is_published: bool,
}

impl Draft {
    /// Begins a file, unless there is one of this name.
    pub(crate) fn create(file: &Path) -> Result<Self, CliError> {
        refuse_existing(file)?;
        let mut name = file.file_name().unwrap_or_default().to_owned();
        name.push(".part");
        let part = file.with_file_name(name);
        let failed = |error| failed("create", &part, error);
        let open = OpenOptions::new().write(true).create(true).truncate(false).open(&part);
        let output = open.map_err(failed)?;
        // Whoever holds it is at work.
        output.try_lock().map_err(|error| failed(error.into()))?;
        output.set_len(0).map_err(failed)?;
        Ok(Self { file: file.into(), part, output, is_published: false })
    }

    /// Adds bytes.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        self.output.write_all(bytes).map_err(|error| failed("write", &self.part, error))
    }

    /// Makes all of it durable; gives where it is.
    pub(crate) fn settle(&mut self) -> Result<&Path, CliError> {
        self.output.sync_all().map_err(|error| failed("sync", &self.part, error))?;
        Ok(&self.part)
    }

    /// Gives it its name, durably.
    pub(crate) fn publish(mut self) -> Result<(), CliError> {
        refuse_existing(&self.file)?;
        fs::rename(&self.part, &self.file).map_err(|error| failed("rename", &self.part, error))?;
        self.is_published = true;
        let parent = self.file.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = parent.unwrap_or_else(|| Path::new("."));
        let synced = File::open(directory).and_then(|directory| directory.sync_all());
        synced.map_err(|error| failed("sync", directory, error))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.is_published {
            // What is left would be overwritten the next time.
            let _ = fs::remove_file(&self.part);
        }
    }
}

fn refuse_existing(file: &Path) -> Result<(), CliError> {
    match fs::symlink_metadata(file) {
        Ok(_) => Err(CliError::Exists { file: file.into() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed("look at", file, error)),
    }
}

fn failed(operation: &'static str, file: &Path, error: io::Error) -> CliError {
    CliError::File { operation, file: file.into(), error }
}
