//! What can go wrong, in whose hands it lies, and what a failed write left behind.
//!
//! * Every failure of a call names its endpoint.
//! * A failed write says whether it may have been applied, and `not applied` only if that is sure.
//!
//! Read next: `client.rs`.

use core::error::Error;
use core::fmt;
use core::time::Duration;
use std::io;
use std::path::PathBuf;

use raft_api::EtcdError;
use raft_backup::Fault;
use raft_storage::StorageError;
use tonic::{Code, Status};

use crate::endpoint::Endpoint;
use crate::input::InputError;

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum CliError {
    /// What came from standard input is wrong. Nothing was sent.
    Input(InputError),
    /// No endpoint gave the answer.
    Call(CallError),
    /// No member, or more than one, has the name.
    Member {
        /// The name, or what was meant as an id.
        word: String,
        /// Whether several have it.
        is_ambiguous: bool,
        /// The members there are.
        listed: Vec<String>,
    },
    /// None of the endpoints leads.
    NoLeaderAmongEndpoints,
    /// The answer came but could not be printed.
    Output(io::Error),
    /// There is a file where one was to be saved.
    Exists {
        /// The file.
        file: PathBuf,
    },
    /// A file cannot be written.
    File {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        file: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A backup did not come to its end.
    Broken {
        /// Whose it was.
        endpoint: Endpoint,
        /// Bytes until then.
        received: u64,
        /// What went wrong.
        failure: Failure,
    },
    /// A backup was not saved in the time that the user gave.
    NotSaved {
        /// Where to.
        file: PathBuf,
        /// The time.
        limit: Duration,
    },
    /// What a server gave is no whole backup.
    NoBackup {
        /// The server.
        endpoint: Endpoint,
        /// What is wrong with it.
        fault: Fault,
    },
    /// A data directory is not what it should be, or none.
    Log {
        /// The directory.
        directory: PathBuf,
        /// What is wrong with it.
        error: Box<StorageError>,
    },
    /// A backup is not what it should be.
    Backup {
        /// The backup.
        file: PathBuf,
        /// What is wrong with it.
        fault: Fault,
    },
}

impl CliError {
    /// The exit code that `--help` documents.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Call(_)
            | Self::Member { .. }
            | Self::NoLeaderAmongEndpoints
            | Self::Output(_)
            | Self::File { .. }
            | Self::Broken { .. }
            | Self::NoBackup { .. }
            | Self::NotSaved { .. } => 1,
            Self::Input(_)
            | Self::Exists { .. }
            | Self::Backup { fault: Fault::Damaged { .. }, .. } => 2,
            Self::Log { error, .. } if error.is_damage() => 2,
            Self::Backup { .. } | Self::Log { .. } => 3,
        }
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input(error) => write!(formatter, "standard input: {error}"),
            Self::Call(error) => error.fmt(formatter),
            Self::Member { word, is_ambiguous, listed } => {
                let many = if *is_ambiguous { "several members are" } else { "no member is" };
                write!(
                    formatter,
                    "{many} called {word}; name one by its id, of these: {}",
                    listed.join(", ")
                )
            }
            Self::NoLeaderAmongEndpoints => formatter.write_str(
                "none of the endpoints leads; give all of them with --endpoints, or use \
                 transfer-leader, which any member obeys",
            ),
            Self::Output(error) => write!(formatter, "standard output: {error}"),
            Self::Exists { file } => write!(
                formatter,
                "{} is there already, and is not overwritten; name another file or move it away",
                file.display()
            ),
            Self::File { operation, file, error } => {
                write!(formatter, "cannot {operation} {}: {error}", file.display())
            }
            Self::Broken { endpoint, received, failure } => write!(
                formatter,
                "{endpoint}: {failure} after {received} bytes of the backup; nothing was saved"
            ),
            Self::NotSaved { file, limit } => write!(
                formatter,
                "{} was not saved within --command-timeout {limit:?}; nothing is left of it",
                file.display()
            ),
            Self::NoBackup { endpoint, fault } => {
                write!(formatter, "{endpoint}: what it sent is {fault}; nothing was saved")
            }
            Self::Backup { file, fault: fault @ Fault::Io { error, .. } } => {
                write!(formatter, "{}: {fault}: {error}", file.display())
            }
            Self::Log { directory, error } => {
                write!(formatter, "{}: {error}", directory.display())?;
                error.source().map_or(Ok(()), |source| write!(formatter, ": {source}"))
            }
            Self::Backup { file, fault } => write!(formatter, "{}: {fault}", file.display()),
        }
    }
}

impl Error for CliError {}

impl From<CallError> for CliError {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

impl From<InputError> for CliError {
    fn from(error: InputError) -> Self {
        Self::Input(error)
    }
}

/// Whether a call may change the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It may be repeated at will.
    Read,
    /// It must not be sent twice.
    Write,
    /// The same, for what changes the cluster and not the store.
    Change,
}

/// A call that no endpoint answered as wanted: what was tried, in order. Never empty.
#[derive(Debug)]
pub(crate) struct CallError {
    pub(crate) effect: Effect,
    pub(crate) attempts: Vec<(Endpoint, Failure)>,
}

impl CallError {
    fn last(&self) -> &(Endpoint, Failure) {
        self.attempts.last().expect("a call tries at least one endpoint")
    }

    /// What became of the write: the endpoints before the last were never sent anything.
    fn remark(&self) -> &'static str {
        match (self.effect, self.last().1.outcome()) {
            (Effect::Read, _) => "",
            (Effect::Write, Outcome::NotApplied) => "; the write was not applied",
            (Effect::Write, Outcome::Unknown) => {
                "; it is unknown whether the write was applied, read before you repeat it"
            }
            (Effect::Change, Outcome::NotApplied) => "; nothing was changed",
            (Effect::Change, Outcome::Unknown) => {
                "; it is unknown whether it was done, look at `raftctl member list` before you \
                 repeat it"
            }
        }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (endpoint, failure) = self.last();
        // An answer that no other endpoint would change stands for itself.
        if self.attempts.len() == 1 || !failure.is_worth_another_endpoint() {
            return write!(formatter, "{endpoint}: {failure}{}", self.remark());
        }
        write!(formatter, "none of {} endpoints answered", self.attempts.len())?;
        for (endpoint, failure) in &self.attempts {
            write!(formatter, "\n  {endpoint}: {failure}")?;
        }
        formatter.write_str(self.remark())
    }
}

impl Error for CallError {}

/// How one endpoint failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// No connection came about.
    Dial(String),
    /// No connection came about in time.
    DialTimeout(Duration),
    /// The connection was there, the answer did not come in time.
    Timeout(Duration),
    /// The server answered with an error, or the connection broke.
    Status(Box<Status>),
}

/// What a failed write left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    NotApplied,
    Unknown,
}

impl Failure {
    /// Whether a read may have better luck elsewhere.
    pub(crate) fn is_worth_another_endpoint(&self) -> bool {
        match self {
            Self::Dial(_) | Self::DialTimeout(_) | Self::Timeout(_) => true,
            // A status with a source was made here, from a broken connection, not by the server.
            Self::Status(status) => status.code() == Code::Unavailable || status.source().is_some(),
        }
    }

    fn outcome(&self) -> Outcome {
        match self {
            Self::Dial(_) | Self::DialTimeout(_) => Outcome::NotApplied,
            Self::Timeout(_) => Outcome::Unknown,
            Self::Status(status) => status_outcome(status),
        }
    }
}

fn status_outcome(status: &Status) -> Outcome {
    if status.source().is_some() {
        return Outcome::Unknown;
    }
    if let Some(error) = EtcdError::from_status(status) {
        return if error.is_ambiguous() { Outcome::Unknown } else { Outcome::NotApplied };
    }
    match status.code() {
        // These judge the request or the caller, which happens before anything is done.
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Unauthenticated => Outcome::NotApplied,
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => Outcome::Unknown,
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dial(reason) => write!(formatter, "cannot connect: {reason}"),
            Self::DialTimeout(waited) => write!(formatter, "cannot connect within {waited:?}"),
            Self::Timeout(waited) => write!(formatter, "no answer within {waited:?}"),
            Self::Status(status) => match (innermost(&**status), status.message()) {
                (Some(cause), _) => write!(formatter, "the connection broke: {cause}"),
                (None, "") => write!(formatter, "{:?}", status.code()),
                (None, text) => write!(formatter, "{text} ({:?})", status.code()),
            },
        }
    }
}

impl Error for Failure {}

/// The last cause in a chain of errors, which is the one that says what happened.
pub(crate) fn innermost(error: &dyn Error) -> Option<&dyn Error> {
    let first = error.source();
    core::iter::successors(first, |&error| error.source()).last()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(text: &str, failure: Failure) -> (Endpoint, Failure) {
        (text.parse().unwrap(), failure)
    }

    fn refused(error: EtcdError) -> Failure {
        Failure::Status(Box::new(error.into()))
    }

    fn check(effect: Effect, attempts: Vec<(Endpoint, Failure)>, expected: &str) {
        assert_eq!(CallError { effect, attempts }.to_string(), expected);
    }

    #[test]
    fn a_single_failure_names_its_endpoint() {
        let attempts = vec![attempt("a:1", Failure::Dial("connection refused".to_owned()))];
        check(Effect::Read, attempts, "a:1: cannot connect: connection refused");
    }

    #[test]
    fn several_failures_are_listed_one_per_line() {
        let attempts = vec![
            attempt("a:1", Failure::DialTimeout(Duration::from_secs(2))),
            attempt("b:2", refused(EtcdError::NoLeader)),
        ];
        let expected = "none of 2 endpoints answered\n  a:1: cannot connect within 2s\n  \
                        b:2: etcdserver: no leader (Unavailable)";
        check(Effect::Read, attempts, expected);
    }

    #[test]
    fn an_answer_that_settles_the_matter_stands_for_itself() {
        let attempts = vec![
            attempt("a:1", Failure::Timeout(Duration::from_secs(1))),
            attempt("b:2", refused(EtcdError::EmptyKey)),
        ];
        let expected = "b:2: etcdserver: key is not provided (InvalidArgument)";
        check(Effect::Read, attempts, expected);
    }

    #[test]
    fn a_failed_write_says_what_became_of_it() {
        let sure = "; the write was not applied";
        let unsure = "; it is unknown whether the write was applied, read before you repeat it";
        for (failure, remark) in [
            (Failure::Dial("refused".to_owned()), sure),
            (Failure::DialTimeout(Duration::from_secs(2)), sure),
            (refused(EtcdError::NoSpace), sure),
            (refused(EtcdError::NoLeader), sure),
            (Failure::Status(Box::new(Status::permission_denied("no"))), sure),
            (Failure::Timeout(Duration::from_secs(5)), unsure),
            (refused(EtcdError::Timeout), unsure),
            (Failure::Status(Box::new(Status::unavailable("going away"))), unsure),
            (Failure::Status(Box::new(Status::unknown("what"))), unsure),
            (Failure::Status(Box::new(Status::from_error(Box::new(EtcdError::NoSpace)))), unsure),
        ] {
            let text = failure.to_string();
            let attempts = vec![attempt("a:1", failure)];
            let error = CallError { effect: Effect::Write, attempts }.to_string();
            assert_eq!(error, format!("a:1: {text}{remark}"));
        }
    }

    #[test]
    fn wrong_input_has_another_exit_code_than_a_cluster_that_fails() {
        assert_eq!(CliError::Input(InputError::TooLong).exit_code(), 2);
        assert_eq!(CliError::Output(io::ErrorKind::BrokenPipe.into()).exit_code(), 1);
    }
}
