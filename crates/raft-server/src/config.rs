//! What a member is told when it starts: flags, `ETCD_` variables, defaults and rules of etcd.
//!
//! * Every violation is reported, each as one sentence that says what to write instead.
//! * A flag together with its variable is refused: one of two wills would be ignored in silence.
//! * What is accepted without effect leaves a warning in [`Config::warnings`].
//!
//! Read next: `config/table.rs`, the flags; `identity.rs`, the ids made from them.

mod help;
mod rules;
mod table;
mod url;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use raft_runtime::SyncMode;

use crate::flags::{self, Flag, Parsed};
use crate::identity::{self, MemberId};

pub use help::help;
pub use table::{Group, Row, Support, WORKING, rows};
pub use url::Url;

/// The version of etcd whose API this server speaks. Clients parse it and choose features by it.
pub const ETCD_VERSION: &str = "3.6.14";

/// The version of the stored data and of the cluster, as etcd would name it.
pub const STORAGE_VERSION: &str = "3.6.0";

/// The version of this product.
pub const PRODUCT_VERSION: &str = env!("CARGO_PKG_VERSION");

/// A member's settings, complete and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The name of this member, unique in its cluster.
    pub name: String,
    /// Where its log and snapshots lie.
    pub data_dir: PathBuf,
    /// Where it listens for clients.
    pub listen_client_urls: Vec<Url>,
    /// Under which URLs clients reach it; shown in the member list.
    pub advertise_client_urls: Vec<Url>,
    /// Where it listens for peers.
    pub listen_peer_urls: Vec<Url>,
    /// Under which URLs peers reach it.
    pub initial_advertise_peer_urls: Vec<Url>,
    /// The members a new cluster begins with: peer URLs, sorted, by name.
    pub initial_cluster: BTreeMap<String, Vec<Url>>,
    /// Keeps two new clusters with equal URLs apart.
    pub initial_cluster_token: String,
    /// Whether to make a cluster or to join one. Ignored on a disk with data.
    pub initial_cluster_state: ClusterState,
    /// Time between two heartbeats of the leader. Default 100 ms.
    pub heartbeat_interval: Duration,
    /// Time without a leader before a member campaigns. Default 1 s; at least five heartbeats, at
    /// most 50 s.
    pub election_timeout: Duration,
    /// Members that should lead, by id, the most preferred first; the same on all members. Default
    /// nobody.
    pub preferred_leaders: Vec<MemberId>,
    /// A snapshot is taken every so many entries. Default 10,000.
    pub snapshot_count: u64,
    /// Entries kept behind a snapshot, for members that are a little late. Default 5,000.
    pub snapshot_catchup_entries: u64,
    /// Largest request of a client, in bytes. Default 1.5 MiB.
    pub max_request_bytes: u64,
    /// Most operations in one transaction. Default 128.
    pub max_txn_ops: usize,
    /// What an acknowledged write survives. Default everything.
    pub sync_mode: SyncMode,
    /// Whether a cluster of one gives up what is damaged. Default no.
    pub accept_data_loss: bool,
    /// What is logged.
    pub log_level: LogLevel,
    /// How it is logged.
    pub log_format: LogFormat,
    /// What was accepted without effect, one sentence each; logged at the start.
    pub warnings: Vec<String>,
}

/// Whether a member with an empty disk makes a cluster or joins one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClusterState {
    /// Makes the cluster that `--initial-cluster` lists, together with its other members.
    New,
    /// Joins a running cluster, which lists this member or soon will.
    Existing,
}

/// The lowest level that is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Everything but traces.
    Debug,
    /// Changes of role and membership, snapshots, and worse.
    Info,
    /// What somebody should look at, and worse.
    Warn,
    /// What somebody must act on.
    Error,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// One line of text.
    Text,
}

impl Config {
    /// Reads and checks the settings of a member. `environment` is names and values of all
    /// environment variables.
    ///
    /// # Errors
    ///
    /// Every violation at once.
    pub fn parse(
        arguments: &[String],
        environment: &[(String, String)],
    ) -> Result<Self, ConfigError> {
        let (parsed, warnings) = Self::read(arguments, environment, &[]);
        Self::check(parsed, warnings)
    }

    /// Reads the settings of a member and flags beyond those, without the rules; what it warns of
    /// comes with it.
    pub(crate) fn read(
        arguments: &[String],
        environment: &[(String, String)],
        more: &[Flag],
    ) -> (Parsed, Vec<String>) {
        let rows = rows();
        let mut warnings = Vec::new();
        let arguments = modern(arguments, &rows, &mut warnings);
        let known: Vec<Flag> =
            rows.iter().map(|row| row.flag).chain(more.iter().copied()).collect();
        let mut parsed = flags::parse(&arguments, &known);
        read_environment(environment, &rows, &mut parsed, &mut warnings);
        answer_unsupported(&rows, &mut parsed, &mut warnings);
        (parsed, warnings)
    }

    /// Checks what was read.
    pub(crate) fn check(parsed: Parsed, warnings: Vec<String>) -> Result<Self, ConfigError> {
        rules::check(parsed, warnings)
    }

    /// The id that the flags give this member: what it has on an empty disk.
    pub fn member_id(&self) -> MemberId {
        MemberId::of(&self.initial_advertise_peer_urls, &self.initial_cluster_token)
    }

    /// The ids of the members a new cluster begins with, by name.
    pub fn initial_member_ids(&self) -> BTreeMap<String, MemberId> {
        let token = &self.initial_cluster_token;
        let id = |urls: &Vec<Url>| MemberId::of(urls, token);
        self.initial_cluster.iter().map(|(name, urls)| (name.clone(), id(urls))).collect()
    }

    /// The id of a new cluster with these members; as a plain number it is the cluster id of Raft.
    pub fn cluster_id(&self) -> u64 {
        identity::cluster_id(self.initial_member_ids().into_values())
    }
}

/// Every rule that the settings break.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// One sentence per violation.
    pub violations: Vec<String>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.violations.join("\n"))
    }
}

impl std::error::Error for ConfigError {}

/// Rewrites the old spelling `--experimental-x` of a known flag to `--x`.
fn modern(arguments: &[String], rows: &[Row], warnings: &mut Vec<String>) -> Vec<String> {
    let rewrite = |argument: &String| {
        let body = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-'));
        let Some(rest) = body.and_then(|body| body.strip_prefix("experimental-")) else {
            return argument.clone();
        };
        let name = rest.split('=').next().unwrap_or(rest);
        if !rows.iter().any(|row| row.flag.name == name) {
            return argument.clone();
        }
        warnings.push(format!("--experimental-{name} is the old name of --{name}; write --{name}"));
        format!("--{rest}")
    };
    arguments.iter().map(rewrite).collect()
}

/// Takes what `ETCD_` variables say where no flag says anything.
fn read_environment(
    environment: &[(String, String)],
    rows: &[Row],
    parsed: &mut Parsed,
    warnings: &mut Vec<String>,
) {
    for (variable, value) in environment {
        let Some(upper) = variable.strip_prefix("ETCD_") else { continue };
        // Upstream reads an empty variable as no variable.
        if value.is_empty() || upper == "UNSUPPORTED_ARCH" {
            continue;
        }
        let lower = upper.to_ascii_lowercase().replace('_', "-");
        let plain = lower.strip_prefix("experimental-").unwrap_or(&lower);
        let row = rows.iter().find(|row| row.flag.name == plain);
        let Some(row) = row.filter(|row| row.group != Group::Information) else {
            warnings.push(format!("the environment variable {variable} is not known; ignored"));
            continue;
        };
        let name = row.flag.name;
        if parsed.values.contains_key(name) {
            parsed.problems.push(format!(
                "conflicting settings: both --{name} and the environment variable {variable} are \
                 given; drop the flag or unset the variable"
            ));
        } else if row.flag.kind == flags::Kind::Switch && flags::switch(value).is_none() {
            parsed.problems.push(format!(
                "{variable}={value} is neither true nor false; write {variable}=true or unset it"
            ));
        } else {
            parsed.values.insert(name, value.clone());
        }
    }
}

/// Warns of flags without effect and refuses those that must not be ignored.
fn answer_unsupported(rows: &[Row], parsed: &mut Parsed, warnings: &mut Vec<String>) {
    for row in rows {
        let name = row.flag.name;
        let Some(value) = parsed.text(name) else { continue };
        match row.support {
            Support::Works => {}
            Support::Ineffective => {
                warnings.push(format!("--{name} is accepted but has no effect yet"));
            }
            Support::Refused { off, .. } if value == off || is_off(off, value) => {}
            Support::Refused { why, .. } => {
                parsed.problems.push(format!("--{name} cannot be obeyed: {why}; remove it"));
            }
        }
    }
}

fn is_off(off: &str, value: &str) -> bool {
    flags::switch(off) == Some(false) && flags::switch(value) == Some(false)
}

#[cfg(test)]
mod tests;
