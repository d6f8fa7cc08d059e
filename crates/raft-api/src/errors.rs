//! Every error of the API with its exact code and text.
//!
//! Clients decide by the text (Go, Node, Java) or by the code (Rust, Python), so both are part of
//! the protocol:
//! * every text begins with `etcdserver: ` and exists once;
//! * `EtcdError → Status → EtcdError` is the identity.
//!
//! Read next: the list at the end of this file, then `tests/errors.txt`, which pins it.

use core::fmt;

use tonic::{Code, Status};

/// Declares the errors, each with its code and text, in one place.
macro_rules! etcd_errors {
    ($($(#[$doc:meta])* $name:ident => $code:ident, $text:literal;)*) => {
        /// An error that clients of etcd know.
        ///
        /// # Examples
        ///
        /// ```
        /// use raft_api::EtcdError;
        /// use raft_api::tonic::Code;
        ///
        /// assert_eq!(EtcdError::NoLeader.code(), Code::Unavailable);
        /// assert_eq!(EtcdError::NoLeader.text(), "etcdserver: no leader");
        /// ```
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum EtcdError {
            $($(#[$doc])* $name,)*
        }

        impl EtcdError {
            /// All errors, in the order of their declaration.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The gRPC code of the error.
            pub fn code(self) -> Code {
                match self {
                    $(Self::$name => Code::$code,)*
                }
            }

            /// The text of the error, exactly as clients compare it.
            pub fn text(self) -> &'static str {
                match self {
                    $(Self::$name => concat!("etcdserver: ", $text),)*
                }
            }
        }
    };
}

impl EtcdError {
    /// Finds the error that a status carries.
    ///
    /// The text alone decides: it is unique, and servers do not agree on every code (etcd itself
    /// sends two of these errors as `Unknown`).
    pub fn from_status(status: &Status) -> Option<Self> {
        Self::ALL.iter().copied().find(|error| error.text() == status.message())
    }

    /// Whether a write that was answered so may have been applied, now or later.
    ///
    /// All other errors mean *not applied*: the request was refused before it was proposed, or by
    /// the state machine.
    pub fn is_ambiguous(self) -> bool {
        matches!(
            self,
            Self::LeaderChanged
                | Self::Stopped
                | Self::Timeout
                | Self::TimeoutDueToLeaderFail
                | Self::TimeoutDueToConnectionLost
                | Self::Canceled
                | Self::DeadlineExceeded
        )
    }
}

impl fmt::Display for EtcdError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.text())
    }
}

impl core::error::Error for EtcdError {}

impl From<EtcdError> for Status {
    fn from(error: EtcdError) -> Self {
        Self::new(error.code(), error.text())
    }
}

etcd_errors! {
    /// A request names no key.
    EmptyKey => InvalidArgument, "key is not provided";
    /// A put keeps the value or lease of a key that does not exist.
    KeyNotFound => InvalidArgument, "key not found";
    /// A put gives a value and also keeps the present one.
    ValueProvided => InvalidArgument, "value is provided";
    /// A put gives a lease and also keeps the present one.
    LeaseProvided => InvalidArgument, "lease is provided";
    /// A transaction has more operations than the server allows.
    TooManyOps => InvalidArgument, "too many operations in txn request";
    /// A transaction writes a key twice.
    DuplicateKey => InvalidArgument, "duplicate key given in txn request";
    /// The metadata `client-api-version` is not text.
    InvalidClientApiVersion => InvalidArgument, "invalid client api version";
    /// A range has a sort order or target that does not exist.
    InvalidSortOption => InvalidArgument, "invalid sort option";
    /// The revision is below the compaction revision.
    Compacted => OutOfRange, "mvcc: required revision has been compacted";
    /// The revision is above the present one.
    FutureRev => OutOfRange, "mvcc: required revision is a future revision";
    /// The store has reached its quota and takes no writes.
    NoSpace => ResourceExhausted, "mvcc: database space exceeded";
    /// There is no such lease.
    LeaseNotFound => NotFound, "requested lease not found";
    /// The wanted lease id is in use.
    LeaseExist => FailedPrecondition, "lease already exists";
    /// The time to live is longer than the server allows.
    LeaseTtlTooLarge => OutOfRange, "too large lease TTL";
    /// The watch has ended.
    WatchCanceled => Cancelled, "watch canceled";
    /// The member is there already.
    MemberExist => FailedPrecondition, "member ID already exist";
    /// Another member has this peer address.
    PeerUrlExist => FailedPrecondition, "Peer URLs already exists";
    /// The change would leave the cluster without a quorum of started members.
    MemberNotEnoughStarted => FailedPrecondition,
        "re-configuration failed due to not enough started members";
    /// An address of a member cannot be parsed.
    MemberBadUrls => InvalidArgument, "given member URLs are invalid";
    /// There is no such member.
    MemberNotFound => NotFound, "member not found";
    /// The member to promote votes already.
    MemberNotLearner => FailedPrecondition, "can only promote a learner member";
    /// The learner to promote is too far behind.
    LearnerNotReady => FailedPrecondition,
        "can only promote a learner member which is in sync with leader";
    /// The cluster has as many learners as it may have.
    TooManyLearners => FailedPrecondition, "too many learner members in cluster";
    /// The request is meant for another cluster.
    ClusterIdMismatch => FailedPrecondition, "cluster ID mismatch";
    /// The request is larger than the server allows.
    RequestTooLarge => InvalidArgument, "request is too large";
    /// The server has more committed entries to apply than it allows.
    TooManyRequests => ResourceExhausted, "too many requests";
    /// Authentication needs a user root.
    RootUserNotExist => FailedPrecondition, "root user does not exist";
    /// Authentication needs a user root with the role root.
    RootRoleNotExist => FailedPrecondition, "root user does not have root role";
    /// The user is there already.
    UserAlreadyExist => FailedPrecondition, "user name already exists";
    /// A request names no user.
    UserEmpty => InvalidArgument, "user name is empty";
    /// There is no such user.
    UserNotFound => FailedPrecondition, "user name not found";
    /// The role is there already.
    RoleAlreadyExist => FailedPrecondition, "role name already exists";
    /// There is no such role.
    RoleNotFound => FailedPrecondition, "role name not found";
    /// A request names no role.
    RoleEmpty => InvalidArgument, "role name is empty";
    /// Name and password do not match.
    AuthFailed => InvalidArgument, "authentication failed, invalid user ID or password";
    /// A request to grant a permission has none.
    PermissionNotGiven => InvalidArgument, "permission not given";
    /// The user may not do this.
    PermissionDenied => PermissionDenied, "permission denied";
    /// The user does not have the role.
    RoleNotGranted => FailedPrecondition, "role is not granted to the user";
    /// The role does not have the permission.
    PermissionNotGranted => FailedPrecondition, "permission is not granted to the role";
    /// Authentication is off.
    AuthNotEnabled => FailedPrecondition, "authentication is not enabled";
    /// The token is unknown or has expired.
    InvalidAuthToken => Unauthenticated, "invalid auth token";
    /// The change would lock everybody out.
    InvalidAuthMgmt => InvalidArgument, "invalid auth management";
    /// Users, roles or permissions changed after the request was checked.
    AuthOldRevision => InvalidArgument, "revision of auth store is old";
    /// The member knows no leader.
    NoLeader => Unavailable, "no leader";
    /// Only the leader can do this.
    NotLeader => FailedPrecondition, "not leader";
    /// The leader changed while the request waited.
    LeaderChanged => Unavailable, "leader changed";
    /// The version of the cluster cannot do this.
    NotCapable => FailedPrecondition, "not capable";
    /// The server is stopping.
    Stopped => Unavailable, "server stopped";
    /// The cluster did not answer in time.
    Timeout => Unavailable, "request timed out";
    /// The cluster did not answer in time; its leader was lost meanwhile.
    TimeoutDueToLeaderFail => Unavailable,
        "request timed out, possibly due to previous leader failure";
    /// The cluster did not answer in time; the connection to the leader was lost meanwhile.
    TimeoutDueToConnectionLost => Unavailable, "request timed out, possibly due to connection lost";
    /// The member did not apply up to the read index in time.
    TimeoutWaitAppliedIndex => Unavailable,
        "request timed out, waiting for the applied index took too long";
    /// Too few members are reachable for this change.
    Unhealthy => Unavailable, "unhealthy cluster";
    /// The store disagrees with those of other members.
    Corrupt => DataLoss, "corrupt cluster";
    /// A learner does not answer this.
    NotSupportedForLearner => FailedPrecondition, "rpc not supported for learner";
    /// Leadership cannot go to this member.
    BadLeaderTransferee => FailedPrecondition, "bad leader transferee";
    /// The version to step back to cannot be parsed.
    WrongDowngradeVersionFormat => InvalidArgument, "wrong downgrade target version format";
    /// The version to step back to is not the previous minor one.
    InvalidDowngradeTargetVersion => InvalidArgument, "invalid downgrade target version";
    /// The version of the cluster is not yet known.
    ClusterVersionUnavailable => FailedPrecondition, "cluster version not found during downgrade";
    /// A downgrade is under way.
    DowngradeInProcess => FailedPrecondition, "cluster has a downgrade job in progress";
    /// No downgrade is under way.
    NoInflightDowngrade => FailedPrecondition, "no inflight downgrade job";
    /// The client gave up.
    Canceled => Cancelled, "request canceled";
    /// The deadline of the client passed.
    DeadlineExceeded => DeadlineExceeded, "context deadline exceeded";
}
