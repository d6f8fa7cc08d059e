//! `put`, `get`, `del` and `compact`: one request each.
//!
//! The arguments also serve the lines of a transaction. Read next: `range.rs`, `txn.rs`.

use core::num::ParseIntError;
use std::ffi::OsString;
use std::io::Read;
use std::os::unix::ffi::OsStrExt as _;

use clap::{Args, ValueEnum};
use raft_api::bytes::Bytes;
use raft_api::etcdserverpb::range_request::{SortOrder, SortTarget};
use raft_api::etcdserverpb::{CompactionRequest, DeleteRangeRequest, PutRequest, RangeRequest};
use tonic::Response;

use crate::answers::{Compacted, Got, Shape};
use crate::client::{Client, Connection};
use crate::error::CliError;
use crate::input;
use crate::output::{Format, Report};
use crate::range::{Extent, KeyRange};

/// Store a key.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  raftctl put colour green
  raftctl put -- --starts-with-dashes value
  raftctl put config <config.json     the value is standard input, byte for byte
  raftctl put colour --ignore-value --lease 32695410dcc0ca06")]
pub(crate) struct PutArgs {
    /// The key
    key: OsString,
    /// The value; without it, standard input
    #[arg(allow_negative_numbers = true)]
    value: Option<OsString>,
    /// Attach the key to this lease
    #[arg(long, value_name = "HEX", value_parser = parse_lease)]
    lease: Option<i64>,
    /// Also print the key as it was before
    #[arg(long)]
    prev_kv: bool,
    /// Keep the present value, which must exist
    #[arg(long, conflicts_with = "value")]
    ignore_value: bool,
    /// Keep the present lease; the key must exist
    #[arg(long, conflicts_with = "lease")]
    ignore_lease: bool,
}

/// Which keys.
#[derive(Args, Debug)]
struct SpanArgs {
    /// The key, or the first key of the range
    key: OsString,
    /// End of the range: keys from KEY on and before this one
    #[arg(conflicts_with_all = ["prefix", "from_key"])]
    range_end: Option<OsString>,
    /// All keys that begin with KEY; with an empty KEY, all keys
    #[arg(long, conflicts_with = "from_key")]
    prefix: bool,
    /// All keys from KEY on; with an empty KEY, all keys
    #[arg(long)]
    from_key: bool,
}

/// What to read.
#[derive(Args, Debug)]
pub(crate) struct RangeArgs {
    #[command(flatten)]
    span: SpanArgs,
    /// At most so many keys, 0 for all
    #[arg(long, value_name = "N", default_value_t = 0)]
    limit: i64,
    /// As of this revision, 0 for the latest
    #[arg(long, value_name = "REVISION", default_value_t = 0)]
    rev: i64,
    /// Sort by this, ascending unless --order says otherwise
    #[arg(long, value_enum, value_name = "TARGET", ignore_case = true)]
    sort_by: Option<SortBy>,
    /// Sort in this direction, by key unless --sort-by says otherwise
    #[arg(long, value_enum, value_name = "ORDER", ignore_case = true)]
    order: Option<Order>,
    /// l: linearizable; s: serializable, from the asked node's own state, which may be stale
    #[arg(long, value_enum, value_name = "l|s", default_value = "l")]
    consistency: Consistency,
    /// Keys without values
    #[arg(long)]
    keys_only: bool,
    /// Only the number of keys
    #[arg(long, conflicts_with = "keys_only")]
    count_only: bool,
}

/// Read a key or a range of keys.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  raftctl get colour
  raftctl get user/ --prefix --keys-only
  raftctl get a c --limit 10 --sort-by modify --order descend
  raftctl get colour --rev 7 --print-value-only
  raftctl get '' --prefix --count-only")]
pub(crate) struct GetArgs {
    #[command(flatten)]
    range: RangeArgs,
    /// Only values, in the format simple
    #[arg(long, conflicts_with_all = ["keys_only", "count_only"])]
    print_value_only: bool,
}

/// Delete a key or a range of keys.
#[derive(Args, Debug)]
#[command(after_help = "Prints the number of deleted keys.

Examples:
  raftctl del colour --prev-kv
  raftctl del user/ --prefix
  raftctl del a c")]
pub(crate) struct DelArgs {
    #[command(flatten)]
    span: SpanArgs,
    /// Also print the keys as they were before
    #[arg(long)]
    prev_kv: bool,
}

/// Forget the history below a revision.
#[derive(Args, Debug)]
#[command(after_help = "The keys as of the revision stay readable, what they superseded does not.

Example:
  raftctl compact 1000 --physical")]
pub(crate) struct CompactArgs {
    /// The lowest revision that stays readable
    revision: i64,
    /// Wait until the store has given the space back
    #[arg(long)]
    physical: bool,
}

/// How current a read must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Consistency {
    /// Linearizable
    #[value(name = "l")]
    Linearizable,
    /// Serializable
    #[value(name = "s")]
    Serializable,
}

/// What to sort by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum SortBy {
    Create,
    Key,
    Modify,
    Value,
    Version,
}

/// How to sort.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Order {
    Ascend,
    Descend,
}

/// Runs `put`.
pub(crate) async fn put(
    client: &Client,
    format: Format,
    args: PutArgs,
    stdin: &mut dyn Read,
) -> Result<Report, CliError> {
    let request = match args.request() {
        Some(request) => request,
        None => PutRequest { value: input::read_all(stdin)?.into(), ..args.without_value() },
    };
    let call = async |to: Connection| to.kv().put(request.clone()).await.map(Response::into_inner);
    Ok(Report::of(&client.write(call).await?, format))
}

/// Runs `get`.
pub(crate) async fn get(
    client: &Client,
    format: Format,
    args: &GetArgs,
) -> Result<Report, CliError> {
    let request = args.range.request();
    let call =
        async |to: Connection| to.kv().range(request.clone()).await.map(Response::into_inner);
    let response = client.read(call).await?;
    Ok(Report::of(&Got { response, shape: args.shape() }, format))
}

/// Runs `del`.
pub(crate) async fn del(
    client: &Client,
    format: Format,
    args: &DelArgs,
) -> Result<Report, CliError> {
    let request = args.request();
    let call = async |to: Connection| {
        to.kv().delete_range(request.clone()).await.map(Response::into_inner)
    };
    Ok(Report::of(&client.write(call).await?, format))
}

/// Runs `compact`.
pub(crate) async fn compact(
    client: &Client,
    format: Format,
    args: &CompactArgs,
) -> Result<Report, CliError> {
    let request = CompactionRequest { revision: args.revision, physical: args.physical };
    let call = async |to: Connection| to.kv().compact(request).await.map(Response::into_inner);
    let response = client.write(call).await?;
    Ok(Report::of(&Compacted { revision: args.revision, response }, format))
}

impl PutArgs {
    /// The request, if the value is known from the arguments.
    pub(crate) fn request(&self) -> Option<PutRequest> {
        let request = self.without_value();
        match &self.value {
            Some(value) => Some(PutRequest { value: bytes(value), ..request }),
            None => self.ignore_value.then_some(request),
        }
    }

    fn without_value(&self) -> PutRequest {
        PutRequest {
            key: bytes(&self.key),
            value: Bytes::new(),
            lease: self.lease.unwrap_or(0),
            prev_kv: self.prev_kv,
            ignore_value: self.ignore_value,
            ignore_lease: self.ignore_lease,
        }
    }
}

impl SpanArgs {
    fn range(&self) -> KeyRange {
        let extent = match &self.range_end {
            Some(end) => Extent::Until(end.as_bytes()),
            None if self.prefix => Extent::Prefix,
            None if self.from_key => Extent::FromKey,
            None => Extent::Key,
        };
        KeyRange::new(self.key.as_bytes(), extent)
    }
}

impl RangeArgs {
    /// The request.
    pub(crate) fn request(&self) -> RangeRequest {
        let KeyRange { key, range_end } = self.span.range();
        RangeRequest {
            key,
            range_end,
            limit: self.limit,
            revision: self.rev,
            sort_order: self.sort_order().into(),
            sort_target: self.sort_by.map_or(SortTarget::Key, SortTarget::from).into(),
            serializable: self.consistency == Consistency::Serializable,
            keys_only: self.keys_only,
            count_only: self.count_only,
            ..RangeRequest::default()
        }
    }

    /// Ascending by key is how the store holds its keys; asking for it would make it sort again.
    fn sort_order(&self) -> SortOrder {
        match (self.order, self.sort_by) {
            (Some(Order::Descend), _) => SortOrder::Descend,
            (None | Some(Order::Ascend), None | Some(SortBy::Key)) => SortOrder::None,
            (None | Some(Order::Ascend), Some(_)) => SortOrder::Ascend,
        }
    }
}

impl GetArgs {
    fn shape(&self) -> Shape {
        if self.range.count_only {
            Shape::Count
        } else if self.print_value_only {
            Shape::Values
        } else {
            Shape::Pairs
        }
    }
}

impl DelArgs {
    /// The request.
    pub(crate) fn request(&self) -> DeleteRangeRequest {
        let KeyRange { key, range_end } = self.span.range();
        DeleteRangeRequest { key, range_end, prev_kv: self.prev_kv }
    }
}

impl From<SortBy> for SortTarget {
    fn from(sort_by: SortBy) -> Self {
        match sort_by {
            SortBy::Create => Self::Create,
            SortBy::Key => Self::Key,
            SortBy::Modify => Self::Mod,
            SortBy::Value => Self::Value,
            SortBy::Version => Self::Version,
        }
    }
}

/// Lease ids are written in hexadecimal, everywhere.
pub(crate) fn parse_lease(text: &str) -> Result<i64, ParseIntError> {
    i64::from_str_radix(text, 16)
}

fn bytes(text: &OsString) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}
