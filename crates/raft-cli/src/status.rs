//! `endpoint status` and `endpoint health`: every node is asked by itself, all at once.
//!
//! Nobody answers for somebody else here, so there is no failover. Read next: `client.rs`.

use clap::{Args, Subcommand};
use raft_api::bytes::Bytes;
use raft_api::etcdserverpb::alarm_request::AlarmAction;
use raft_api::etcdserverpb::{AlarmMember, AlarmRequest, AlarmType, RangeRequest, StatusRequest};
use tonic::{Code, Response, Status};

use crate::answers::{Health, Healths, Statuses};
use crate::client::{Asked, Client, Connection};
use crate::endpoint::Endpoint;
use crate::error::CliError;
use crate::kv::Consistency;
use crate::member;
use crate::output::{Format, Report, render};

/// The commands about endpoints.
#[derive(Debug, Subcommand)]
pub(crate) enum EndpointCommand {
    /// Show version, size, role and progress of each node
    Status(StatusArgs),
    /// Show whether each node can do its work: read what is committed, and no alarm is raised
    Health(HealthArgs),
}

/// Show how single nodes are.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  raftctl status --cluster -w table
  raftctl --endpoints db1:2379,db2:2379 endpoint status")]
pub(crate) struct StatusArgs {
    /// Ask all members of the cluster instead of the given endpoints
    #[arg(long)]
    cluster: bool,
}

/// Show whether single nodes can do their work.
#[derive(Args, Debug)]
#[command(after_help = "The exit code is 0 only if all are healthy.

Example:
  raftctl endpoint health --cluster")]
pub(crate) struct HealthArgs {
    /// Ask all members of the cluster instead of the given endpoints
    #[arg(long)]
    cluster: bool,
}

/// Runs `endpoint status`.
pub(crate) async fn status(
    client: &Client,
    format: Format,
    args: &StatusArgs,
) -> Result<Report, CliError> {
    let Targets { client, mut problems } = targets(client, args.cluster).await?;
    let mut statuses = Vec::new();
    for Asked { endpoint, result, .. } in client.each(ask_status).await {
        match result {
            Ok(status) => statuses.push((endpoint, status)),
            Err(failure) => problems.push(format!("{endpoint}: {failure}")),
        }
    }
    Ok(Report { output: render(&Statuses(statuses), format), problems })
}

async fn ask_status(to: Connection) -> Result<raft_api::etcdserverpb::StatusResponse, Status> {
    to.maintenance().status(StatusRequest {}).await.map(Response::into_inner)
}

/// Runs `endpoint health`.
pub(crate) async fn health(
    client: &Client,
    format: Format,
    args: &HealthArgs,
) -> Result<Report, CliError> {
    let Targets { client, mut problems } = targets(client, args.cluster).await?;
    let judge = |Asked { endpoint, result, took }: Asked<Vec<AlarmMember>>| {
        let error = match result {
            Ok(alarms) if alarms.is_empty() => None,
            Ok(alarms) => Some(format!("active alarms: {}", alarm_names(&alarms))),
            Err(failure) => Some(failure.to_string()),
        };
        Health { endpoint, took, error }
    };
    let healths: Vec<_> = client.each(ask_health).await.into_iter().map(judge).collect();
    let sick = healths.iter().filter(|health| health.error.is_some()).count();
    if sick > 0 {
        problems.push(format!("{sick} of {} endpoints are not healthy", healths.len()));
    }
    Ok(Report { output: render(&Healths(healths), format), problems })
}

/// A linearizable read shows that the node reaches a leader and the leader a quorum. The key need
/// not exist, and being forbidden to read it is an answer, too.
async fn ask_health(to: Connection) -> Result<Vec<AlarmMember>, Status> {
    let key = Bytes::from_static(b"health");
    let read = to.again().kv().range(RangeRequest { key, ..RangeRequest::default() }).await;
    match read {
        Ok(_) => {}
        Err(status) if status.code() == Code::PermissionDenied => {}
        Err(status) => return Err(status),
    }
    let request = AlarmRequest { action: AlarmAction::Get.into(), ..AlarmRequest::default() };
    Ok(to.maintenance().alarm(request).await?.into_inner().alarms)
}

fn alarm_names(alarms: &[AlarmMember]) -> String {
    let name = |alarm: &AlarmMember| match AlarmType::try_from(alarm.alarm) {
        Ok(kind) => format!("{} at {:x}", kind.as_str_name(), alarm.member_id),
        // A later version may know more kinds.
        Err(_) => format!("kind {} at {:x}", alarm.alarm, alarm.member_id),
    };
    alarms.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// Whom to ask, and who cannot be asked.
struct Targets {
    client: Client,
    problems: Vec<String>,
}

async fn targets(client: &Client, is_for_all: bool) -> Result<Targets, CliError> {
    if !is_for_all {
        return Ok(Targets { client: client.clone(), problems: Vec::new() });
    }
    let list = member::members(client, Consistency::Linearizable).await?;
    let (mut endpoints, mut problems) = (Vec::new(), Vec::new());
    for member in list.members {
        if member.client_urls.is_empty() {
            problems.push(format!("member {:x} has no client address yet", member.id));
        }
        for url in member.client_urls {
            match url.parse::<Endpoint>() {
                Ok(endpoint) => endpoints.push(endpoint),
                Err(error) => problems.push(format!("member {:x} at {url}: {error}", member.id)),
            }
        }
    }
    Ok(Targets { client: client.with_endpoints(endpoints), problems })
}
