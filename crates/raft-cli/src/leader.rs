//! `transfer-leader` and `move-leader`: who leads.
//!
//! The first may be asked of any member of raftd; the second is etcd's, which only the leader
//! obeys, so it is looked for among the endpoints. Read next: `member.rs`.

use clap::Args;
use raft_api::etcdserverpb::{MoveLeaderRequest, StatusRequest};
use raft_api::membership::TransferLeadershipRequest;
use tonic::{Response, Status};

use crate::answers::Moved;
use crate::client::{Client, Connection};
use crate::error::CliError;
use crate::member;
use crate::output::{Format, Report};

/// Hand leadership to another member.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  raftctl transfer-leader n2
  raftctl transfer-leader          to whoever lacks least, before maintenance of the leader")]
pub(crate) struct TransferArgs {
    /// The id or the name of the member that shall lead; the one that lacks least if not given
    member: Option<String>,
}

/// Hand leadership to another member, as etcdctl does it.
#[derive(Args, Debug)]
#[command(after_help = "The leader has to be among the endpoints.

Example:
  raftctl --endpoints db1:2379,db2:2379,db3:2379 move-leader 8e9e05c52164694d")]
pub(crate) struct MoveArgs {
    /// The id or the name of the member that shall lead
    member: String,
}

/// Runs `transfer-leader`.
pub(crate) async fn transfer(
    client: &Client,
    format: Format,
    args: TransferArgs,
) -> Result<Report, CliError> {
    let target = match args.member {
        Some(word) => member::find(client, &word).await?.id,
        None => 0,
    };
    let from = client.read(ask_leader).await?;
    let request = TransferLeadershipRequest { target };
    let call = async |to: Connection| {
        to.membership().transfer_leadership(request).await.map(Response::into_inner)
    };
    let to = client.change(call).await?.leader;
    Ok(Report::of(&Moved { from, to }, format))
}

/// Runs `move-leader`.
pub(crate) async fn move_leader(
    client: &Client,
    format: Format,
    args: MoveArgs,
) -> Result<Report, CliError> {
    let target_id = member::find(client, &args.member).await?.id;
    let mut leader = None;
    for asked in client.each(ask_whether_leader).await {
        if let Ok(Some(id)) = asked.result {
            leader = Some((id, asked.endpoint));
        }
    }
    let Some((from, endpoint)) = leader else { return Err(CliError::NoLeaderAmongEndpoints) };
    let request = MoveLeaderRequest { target_id };
    let call = async |to: Connection| {
        to.maintenance().move_leader(request).await.map(Response::into_inner)
    };
    client.with_endpoints(vec![endpoint]).change(call).await?;
    Ok(Report::of(&Moved { from, to: target_id }, format))
}

async fn ask_leader(to: Connection) -> Result<u64, Status> {
    Ok(to.maintenance().status(StatusRequest {}).await?.into_inner().leader)
}

/// The id of the member if it leads.
async fn ask_whether_leader(to: Connection) -> Result<Option<u64>, Status> {
    let status = to.maintenance().status(StatusRequest {}).await?.into_inner();
    let own = status.header.map_or(0, |header| header.member_id);
    Ok(Some(own).filter(|own| *own != 0 && *own == status.leader))
}
