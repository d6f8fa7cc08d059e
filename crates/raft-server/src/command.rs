//! What `raftd` is asked to do: serve, run a cluster to try out, restore, or print something.
//!
//! Read next: `config.rs` for serving, `dev.rs`, `demo.rs` and `restore.rs` for the others.

use crate::config::{Config, ConfigError, ETCD_VERSION, PRODUCT_VERSION};
use crate::demo::DemoOptions;
use crate::dev::DevOptions;
use crate::flags;
use crate::restore::RestoreOptions;

/// What `raftd` is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Be a member of a cluster.
    Serve(Box<Config>),
    /// Run a cluster on this machine.
    Dev(DevOptions),
    /// Kill leaders under load and judge the outcome.
    Demo(DemoOptions),
    /// Make a data directory from a backup.
    Restore(RestoreOptions),
    /// Print this and exit.
    Print(String),
}

impl Command {
    /// Reads a command line, without the name of the program. `environment` is names and values of
    /// all environment variables.
    ///
    /// # Errors
    ///
    /// Every violation at once, each a sentence.
    pub fn parse(
        arguments: &[String],
        environment: &[(String, String)],
    ) -> Result<Self, ConfigError> {
        let Some(word) = arguments.first().filter(|word| !word.starts_with('-')) else {
            return Self::serve(arguments, environment);
        };
        let rest = &arguments[1..];
        let wants_help = asks_for(rest, "help") || asks_for(rest, "h");
        match word.as_str() {
            "dev" if wants_help => Ok(Self::Print(crate::dev::HELP.to_owned())),
            "dev" => DevOptions::parse(rest).map(Self::Dev),
            "demo" if wants_help => Ok(Self::Print(crate::demo::HELP.to_owned())),
            "demo" => DemoOptions::parse(rest).map(Self::Demo),
            "restore" if wants_help => Ok(Self::Print(crate::restore::HELP.to_owned())),
            "restore" => RestoreOptions::parse(rest, environment).map(Self::Restore),
            "help" => Ok(Self::Print(crate::config::help())),
            "version" => Ok(Self::Print(version())),
            word => Err(ConfigError { violations: vec![unknown(word)] }),
        }
    }

    fn serve(arguments: &[String], environment: &[(String, String)]) -> Result<Self, ConfigError> {
        if asks_for(arguments, "help") || asks_for(arguments, "h") {
            return Ok(Self::Print(crate::config::help()));
        }
        if asks_for(arguments, "version") {
            return Ok(Self::Print(version()));
        }
        Config::parse(arguments, environment).map(|config| Self::Serve(Box::new(config)))
    }
}

/// The version: first the line that scripts made for etcd parse, then the product's own.
pub fn version() -> String {
    format!("etcd Version: {ETCD_VERSION}\nraftd Version: {PRODUCT_VERSION}\n")
}

/// Whether a switch stands anywhere before `--`, as etcd looks for it before all else.
fn asks_for(arguments: &[String], name: &str) -> bool {
    let flags = arguments.iter().take_while(|argument| *argument != "--");
    flags.into_iter().any(|argument| {
        let body = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-'));
        body == Some(name) || body == Some(&format!("{name}=true"))
    })
}

fn unknown(word: &str) -> String {
    match flags::nearest(word, COMMANDS.into_iter()) {
        Some(near) => format!("{word:?} is not a command; did you mean raftd {near}?"),
        None => format!(
            "{word:?} is not a command; write raftd with flags to serve, or one of: {}",
            COMMANDS.join(", ")
        ),
    }
}

const COMMANDS: [&str; 5] = ["dev", "demo", "restore", "help", "version"];

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> Result<Command, ConfigError> {
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        Command::parse(&arguments, &[])
    }

    /// The first line of the version is the one that scripts made for etcd parse.
    #[test]
    fn the_version_is_spelled_as_etcd_spells_it() {
        for arguments in
            [&["--version"][..], &["-version"], &["version"], &["--name=x", "--version"]]
        {
            let Ok(Command::Print(text)) = read(arguments) else { panic!("{arguments:?}") };
            let mut lines = text.lines();
            assert_eq!(lines.next(), Some("etcd Version: 3.6.14"));
            assert_eq!(lines.next(), Some("raftd Version: 0.1.0"));
        }
    }

    /// Flags alone mean serve; a word chooses something else; a mistyped word is answered.
    #[test]
    fn the_first_word_chooses() {
        assert!(matches!(read(&[]), Ok(Command::Serve(_))));
        assert!(matches!(read(&["--name=n1"]), Ok(Command::Serve(_))));
        assert!(matches!(read(&["dev"]), Ok(Command::Dev(_))));
        assert!(matches!(read(&["demo", "--kills=1"]), Ok(Command::Demo(_))));
        for words in [&["help"][..], &["--help"], &["-h"], &["dev", "--help"], &["demo", "-h"]] {
            assert!(matches!(read(words), Ok(Command::Print(_))), "{words:?}");
        }
        assert_eq!(
            read(&["dmeo"]).unwrap_err().to_string(),
            "\"dmeo\" is not a command; did you mean raftd demo?"
        );
        assert!(read(&["gateway"]).unwrap_err().to_string().contains("one of: dev, demo"));
    }
}
