//! The command line: global options, commands, and the environment behind them.
//!
//! The arguments of a command stand in the file of its family. Wrong use ends here, with exit code
//! 2, before anything is sent. Read next: `kv.rs`.

use core::error::Error;
use core::fmt;
use core::time::Duration;
use std::env;

use clap::parser::ValueSource;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::endpoint::Endpoint;
use crate::kv::{CompactArgs, DelArgs, GetArgs, PutArgs};
use crate::leader::{MoveArgs, TransferArgs};
use crate::member::MemberCommand;
use crate::output::Format;
use crate::snapshot::SnapshotCommand;
use crate::status::{EndpointCommand, StatusArgs};
use crate::txn::TxnArgs;
use crate::wal::WalCommand;

/// Reads and writes the store of a cluster and looks after its nodes.
///
/// Works with raftd and with every other server of the etcd v3 protocol.
#[derive(Debug, Parser)]
#[command(name = "raftctl", version, after_help = AFTER_HELP, max_term_width = 100)]
pub(crate) struct Cli {
    /// What applies to all commands.
    #[command(flatten)]
    pub(crate) global: Global,

    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of all commands.
#[derive(Args, Debug)]
#[command(next_help_heading = "Options of all commands")]
pub(crate) struct Global {
    /// Client addresses of the cluster, separated by commas, tried in this order
    #[arg(long, global = true, value_name = "HOST:PORT", value_delimiter = ',')]
    #[arg(default_value = "127.0.0.1:2379")]
    pub(crate) endpoints: Vec<Endpoint>,

    /// How to print the answer
    #[arg(short, long, global = true, value_enum, value_name = "FORMAT")]
    #[arg(default_value = "simple", ignore_case = true)]
    pub(crate) write_out: Format,

    /// Longest time for a command as a whole, such as 500ms, 5s or 1m30s. While endpoints are
    /// left to try, a read gives each of them an equal share of it
    #[arg(long, global = true, value_name = "TIME", default_value = "5s")]
    #[arg(value_parser = parse_duration)]
    pub(crate) command_timeout: Duration,

    /// Longest time to connect to one endpoint
    #[arg(long, global = true, value_name = "TIME", default_value = "2s")]
    #[arg(value_parser = parse_duration)]
    pub(crate) dial_timeout: Duration,

    /// Whether somebody said how long a command may take.
    #[arg(skip)]
    pub(crate) is_timeout_given: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Store a key
    Put(PutArgs),
    /// Read a key or a range of keys
    Get(GetArgs),
    /// Delete a key or a range of keys
    Del(DelArgs),
    /// Compare, then run one of two lists of operations, as one step
    Txn(TxnArgs),
    /// Forget the history below a revision
    #[command(visible_alias = "compaction")]
    Compact(CompactArgs),
    /// Show and change the membership
    #[command(subcommand)]
    Member(MemberCommand),
    /// Hand leadership to another member, whichever member is asked
    TransferLeader(TransferArgs),
    /// Hand leadership to another member, as etcdctl does it
    MoveLeader(MoveArgs),
    /// Show how single nodes are
    #[command(subcommand)]
    Endpoint(EndpointCommand),
    /// Show how single nodes are, same as `endpoint status`
    Status(StatusArgs),
    /// Save, verify and look at backups
    #[command(subcommand)]
    Snapshot(SnapshotCommand),
    /// Look into the log of a member on its disk
    #[command(subcommand)]
    Wal(WalCommand),
    /// Show the version of raftctl and of the protocol it speaks
    Version,
}

impl Cli {
    /// Parses the arguments of this process, with its environment behind them.
    pub(crate) fn load() -> Result<Self, clap::Error> {
        let mut command = Self::command();
        for (option, names) in VARIABLES {
            command = command.mut_arg(option, |arg| arg.env(first_set(names)));
        }
        let matches = command.clone().try_get_matches()?;
        let mut cli =
            Self::from_arg_matches(&matches).map_err(|error| error.format(&mut command))?;
        let source = matches.value_source("command_timeout");
        cli.global.is_timeout_given = source != Some(ValueSource::DefaultValue);
        Ok(cli)
    }
}

/// The first variable that is set to something; an empty one counts as unset.
fn first_set(names: [&'static str; 2]) -> Option<&'static str> {
    names.into_iter().find(|name| env::var_os(name).is_some_and(|value| !value.is_empty()))
}

/// Parses durations the way Go writes them, since that is what users of etcd have in their scripts:
/// numbers with units, largest first by habit only.
fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let mut rest = text.trim();
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(end);
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let seconds = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            _ => return Err(DurationError::Unit),
        };
        let number: f64 = number.parse().map_err(|_| DurationError::Number)?;
        let part = Duration::try_from_secs_f64(number * seconds);
        let part = part.map_err(|_| DurationError::Number)?;
        total = total.checked_add(part).ok_or(DurationError::Number)?;
        rest = after;
    }
    // Also stops sums that a clock could not add to "now".
    if total.is_zero() || total > DURATION_MAX { Err(DurationError::Range) } else { Ok(total) }
}

/// Why a text is no duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DurationError {
    Unit,
    Number,
    Range,
}

impl fmt::Display for DurationError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Unit => "a number needs one of the units h, m, s, ms, us, such as 5s",
            Self::Number => "the number before the unit cannot be read, expected such as 5s",
            Self::Range => "the time must be more than 0 and at most 24h",
        })
    }
}

impl Error for DurationError {}

/// Nobody waits longer for one command; a larger number is a slip.
const DURATION_MAX: Duration = Duration::from_hours(24);

/// Options and the variables behind them, ours before etcd's.
const VARIABLES: [(&str, [&str; 2]); 4] = [
    ("endpoints", ["RAFTCTL_ENDPOINTS", "ETCDCTL_ENDPOINTS"]),
    ("write_out", ["RAFTCTL_WRITE_OUT", "ETCDCTL_WRITE_OUT"]),
    ("command_timeout", ["RAFTCTL_COMMAND_TIMEOUT", "ETCDCTL_COMMAND_TIMEOUT"]),
    ("dial_timeout", ["RAFTCTL_DIAL_TIMEOUT", "ETCDCTL_DIAL_TIMEOUT"]),
];

const AFTER_HELP: &str = "\
Environment:
  RAFTCTL_ENDPOINTS, RAFTCTL_WRITE_OUT, RAFTCTL_COMMAND_TIMEOUT, RAFTCTL_DIAL_TIMEOUT stand in for
  options that are not given; ETCDCTL_ENDPOINTS and so on for variables that are not set.

Exit codes:
  0  done
  1  the cluster refused, was not reached, did not answer in time or is not healthy
  2  the command, its options or its input are wrong; nothing was sent
  snapshot verify and inspect: 2 the backup is damaged, 3 it cannot be read or is of another version

Examples:
  raftctl put colour green
  raftctl get colour --print-value-only
  raftctl --endpoints 10.0.0.1:2379,10.0.0.2:2379 get user/ --prefix --keys-only
  raftctl endpoint status --cluster -w table
  raftctl member add n4 --peer-urls=http://10.0.0.4:2380
  raftctl snapshot save backup.db";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_free_of_contradictions() {
        Cli::command().debug_assert();
    }

    #[test]
    fn times_are_written_as_in_go() {
        let check = |text, millis| {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        };
        check("5s", 5_000);
        check("500ms", 500);
        check("1m30s", 90_000);
        check("1.5s", 1_500);
        check("2h", 7_200_000);
        check(" 1s ", 1_000);
    }

    #[test]
    fn a_time_without_unit_or_number_or_end_is_refused() {
        let check = |text, error| assert_eq!(parse_duration(text), Err(error), "{text}");
        check("5", DurationError::Unit);
        check("5 s", DurationError::Unit);
        check("-5s", DurationError::Unit);
        check("5days", DurationError::Unit);
        check("s", DurationError::Number);
        check("1.2.3s", DurationError::Number);
        check("", DurationError::Range);
        check("0s", DurationError::Range);
        check("25h", DurationError::Range);
        check("99999999999999999999999h", DurationError::Number);
    }

    #[test]
    fn a_prefix_and_everything_from_a_key_cannot_be_asked_at_once() {
        for arguments in [
            &["raftctl", "get", "a", "--prefix", "--from-key"][..],
            &["raftctl", "get", "a", "b", "--prefix"],
            &["raftctl", "del", "a", "b", "--from-key"],
            &["raftctl", "get", "a", "--keys-only", "--count-only"],
            &["raftctl", "put", "a", "b", "--ignore-value"],
            &["raftctl", "put", "a", "b", "--lease", "1", "--ignore-lease"],
        ] {
            assert!(Cli::try_parse_from(arguments).is_err(), "{arguments:?}");
        }
    }

    #[test]
    fn options_may_stand_before_and_after_the_command() {
        let before = ["raftctl", "-w", "json", "--endpoints", "a:1,b:2", "get", "k"];
        let after = ["raftctl", "get", "k", "--endpoints=a:1,b:2", "--write-out", "JSON"];
        for arguments in [&before[..], &after[..]] {
            let cli = Cli::try_parse_from(arguments).unwrap();
            let endpoints: Vec<_> = cli.global.endpoints.iter().map(ToString::to_string).collect();
            assert_eq!(endpoints, ["a:1", "b:2"]);
            assert_eq!(cli.global.write_out, Format::Json);
        }
    }
}
