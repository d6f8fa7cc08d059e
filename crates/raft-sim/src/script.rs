//! Scripts: read, played, compared with what they recorded.
//!
//! * Lines that begin with `> ` are commands; `#` begins a comment; every other line that is not
//!   blank is what the command above it made happen.
//! * A command that does not exist, or cannot be carried out, is an error with file and line.
//!
//! Read next: `script/command.rs`.

mod change;
mod cluster;
mod command;
pub(crate) mod notation;
mod safety;
mod settings;
mod stage;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use self::command::Command;
use self::stage::Stage;

/// One story: comments, commands, and what each command made happen when it was recorded.
#[derive(Clone, Debug)]
pub struct Script {
    path: PathBuf,
    lines: Vec<Line>,
}

#[derive(Clone, Debug)]
enum Line {
    /// A comment or a blank line.
    Prose(String),
    Command {
        /// Counted from one.
        number: usize,
        text: String,
        recorded: Vec<String>,
    },
}

/// Why a script cannot be told, or tells another story than the one recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptError {
    /// The file.
    pub path: PathBuf,
    /// The line, counted from one.
    pub line: usize,
    /// What is wrong there.
    pub what: String,
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path.display(), self.line, self.what)
    }
}

impl std::error::Error for ScriptError {}

impl Script {
    /// Reads a script from a file.
    ///
    /// # Errors
    ///
    /// [`ScriptError`] if the file cannot be read or is not a script.
    pub fn read(path: &Path) -> Result<Self, ScriptError> {
        let text = fs::read_to_string(path).map_err(|error| ScriptError {
            path: path.into(),
            line: 1,
            what: format!("cannot be read: {error}"),
        })?;
        Self::parse(path, &text)
    }

    /// Reads a script from a text; the path is only named in errors.
    ///
    /// # Errors
    ///
    /// [`ScriptError`] if a line before the first command records an outcome, or if no comment says
    /// what the script shows.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ScriptError> {
        let fault = |line, what: &str| ScriptError { path: path.into(), line, what: what.into() };
        if !text.starts_with("# ") {
            return Err(fault(1, "a script begins with `# ` and what it shows"));
        }
        let mut lines: Vec<Line> = Vec::new();
        let mut last_command = None;
        for (i, line) in text.lines().enumerate() {
            let number = i + 1;
            if let Some(text) = line.strip_prefix("> ") {
                last_command = Some(lines.len());
                let (text, recorded) = (text.trim().to_owned(), Vec::new());
                lines.push(Line::Command { number, text, recorded });
            } else if line.is_empty() || line.starts_with('#') {
                lines.push(Line::Prose(line.to_owned()));
            } else if let Some(Line::Command { recorded, .. }) =
                last_command.map(|at: usize| &mut lines[at])
            {
                recorded.push(line.to_owned());
            } else {
                return Err(fault(number, "an outcome stands below the command that caused it"));
            }
        }
        Ok(Self { path: path.into(), lines })
    }

    /// Plays the script on a new stage and returns it with the outcome of today.
    ///
    /// # Errors
    ///
    /// [`ScriptError`] if a command is unknown, cannot be carried out, or breaks a safety property.
    pub fn play(&self) -> Result<Self, ScriptError> {
        let mut stage = Stage::default();
        let mut played = self.clone();
        for line in &mut played.lines {
            let Line::Command { number, text, recorded } = line else { continue };
            let outcome = Command::parse(text).and_then(|command| stage.carry_out(&command));
            *recorded = outcome.map_err(|what| ScriptError {
                path: self.path.clone(),
                line: *number,
                what: format!("> {text}: {what}"),
            })?;
        }
        Ok(played)
    }

    /// Plays the script and compares what happens with what it recorded.
    ///
    /// # Errors
    ///
    /// As [`play`](Self::play), or the first command whose outcome differs, with the difference.
    pub fn check(&self) -> Result<(), ScriptError> {
        let played = self.play()?;
        for (before, now) in self.lines.iter().zip(&played.lines) {
            let (Line::Command { number, text, recorded }, Line::Command { recorded: now, .. }) =
                (before, now)
            else {
                continue;
            };
            if recorded != now {
                return Err(ScriptError {
                    path: self.path.clone(),
                    line: *number,
                    what: format!("> {text} has another outcome:\n{}", difference(recorded, now)),
                });
            }
        }
        Ok(())
    }

    /// Plays the script and records what happens in its file. Tells whether the file changed.
    ///
    /// # Errors
    ///
    /// As [`play`](Self::play), or the file cannot be written.
    pub fn update(&self) -> Result<bool, ScriptError> {
        let (before, now) = (self.to_string(), self.play()?.to_string());
        if before == now {
            return Ok(false);
        }
        fs::write(&self.path, now).map_err(|error| ScriptError {
            path: self.path.clone(),
            line: 1,
            what: format!("cannot be written: {error}"),
        })?;
        Ok(true)
    }
}

impl fmt::Display for Script {
    /// The script as it stands in its file. A blank line ends what a command recorded.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            match line {
                Line::Prose(text) => writeln!(f, "{text}")?,
                Line::Command { text, recorded, .. } => {
                    writeln!(f, "> {text}")?;
                    for line in recorded {
                        writeln!(f, "{line}")?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// The lines that differ, between the common ones before and after.
fn difference(recorded: &[String], now: &[String]) -> String {
    let same = |(a, b): &(&String, &String)| a == b;
    let before = recorded.iter().zip(now).take_while(same).count();
    let (old, new) = (&recorded[before..], &now[before..]);
    let after = old.iter().rev().zip(new.iter().rev()).take_while(same).count();
    let (old, new) = (&old[..old.len() - after], &new[..new.len() - after]);
    let context = recorded[..before].iter().rev().take(2).rev().map(|line| format!("  {line}\n"));
    let gone = old.iter().map(|line| format!("- {line}\n"));
    let come = new.iter().map(|line| format!("+ {line}\n"));
    context.chain(gone).chain(come).collect()
}
