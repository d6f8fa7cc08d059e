//! `member`: who belongs to the cluster.
//!
//! Read next: `status.rs`.

use clap::{Args, Subcommand};
use raft_api::etcdserverpb::{MemberListRequest, MemberListResponse};
use tonic::Response;

use crate::client::{Client, Connection};
use crate::error::CliError;
use crate::kv::Consistency;
use crate::output::{Format, Report};

/// The commands about members.
#[derive(Debug, Subcommand)]
pub(crate) enum MemberCommand {
    /// List the members
    List(ListArgs),
}

/// List the members.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  raftctl member list -w table
  raftctl member list --consistency s     as far as the asked node knows")]
pub(crate) struct ListArgs {
    /// l: as of now; s: as far as the asked node knows
    #[arg(long, value_enum, value_name = "l|s", default_value = "l")]
    consistency: Consistency,
}

/// Runs `member list`.
pub(crate) async fn list(
    client: &Client,
    format: Format,
    args: &ListArgs,
) -> Result<Report, CliError> {
    Ok(Report::of(&members(client, args.consistency).await?, format))
}

/// Asks for the members.
pub(crate) async fn members(
    client: &Client,
    consistency: Consistency,
) -> Result<MemberListResponse, CliError> {
    let request = MemberListRequest { linearizable: consistency == Consistency::Linearizable };
    let call =
        async |to: Connection| to.cluster().member_list(request).await.map(Response::into_inner);
    Ok(client.read(call).await?)
}
