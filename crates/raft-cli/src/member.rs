//! `member`: who belongs to the cluster, and changes of that.
//!
//! A member is named by its id or by its name. What etcd knows too is asked in etcd's words, so it
//! works with etcd; `show`, `demote`, `replace` and `readmit` need raftd. Read next: `leader.rs`.

use clap::{Args, Subcommand};
use raft_api::etcdserverpb::{
    Member, MemberAddRequest, MemberListRequest, MemberListResponse, MemberPromoteRequest,
    MemberRemoveRequest, MemberUpdateRequest, ResponseHeader,
};
use raft_api::membership::change::Kind;
use raft_api::membership::{
    Add, Change, ChangeRequest, ChangeResponse, MemberState, Promotion, Readmit, ShowRequest,
    ShowResponse,
};
use tonic::Response;

use crate::answers::{Changed, Shown, Start};
use crate::client::{Client, Connection};
use crate::error::CliError;
use crate::kv::Consistency;
use crate::output::{Format, Report};

/// The commands about members.
#[derive(Debug, Subcommand)]
pub(crate) enum MemberCommand {
    /// List the members
    List(ListArgs),
    /// Show how each member votes and which disk it promised with
    Show,
    /// Add a member, before it is started
    Add(AddArgs),
    /// Remove a member
    Remove(RemoveArgs),
    /// Change the peer URLs of a member
    Update(UpdateArgs),
    /// Make a learner a voter
    Promote(PromoteArgs),
    /// Make a voter a learner
    Demote(DemoteArgs),
    /// Put a new member in the place of another
    Replace(ReplaceArgs),
    /// Take back a member whose data directory was lost
    Readmit(ReadmitArgs),
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

/// Add a member, before it is started.
///
/// It receives the log first and votes as soon as it has caught up. The answer says what to start
/// it with.
#[derive(Args, Debug)]
#[command(after_help = "Example:
  raftctl member add n4 --peer-urls=http://10.0.0.4:2380")]
pub(crate) struct AddArgs {
    /// The name it will be started with
    name: String,
    /// Where peers will reach it, separated by commas
    #[arg(long, value_name = "URL", value_delimiter = ',', required = true)]
    peer_urls: Vec<String>,
    /// Do not let it vote until `member promote`
    #[arg(long)]
    learner: bool,
}

/// Remove a member.
///
/// Its process says that it was removed and ends with status 3. The leader can be removed, too.
#[derive(Args, Debug)]
pub(crate) struct RemoveArgs {
    /// Its id or its name
    member: String,
    /// Also if the others may be left without a quorum
    #[arg(long)]
    availability_at_risk: bool,
}

/// Change the peer URLs of a member.
///
/// Its id stays. Start it with the new URLs and --initial-cluster-state=existing.
#[derive(Args, Debug)]
pub(crate) struct UpdateArgs {
    /// Its id or its name
    member: String,
    /// Where peers will reach it, separated by commas
    #[arg(long, value_name = "URL", value_delimiter = ',', required = true)]
    peer_urls: Vec<String>,
}

/// Make a learner a voter.
#[derive(Args, Debug)]
pub(crate) struct PromoteArgs {
    /// Its id or its name
    member: String,
}

/// Make a voter a learner.
#[derive(Args, Debug)]
pub(crate) struct DemoteArgs {
    /// Its id or its name
    member: String,
    /// Also if the others may be left without a quorum
    #[arg(long)]
    availability_at_risk: bool,
}

/// Put a new member in the place of another.
///
/// The new one receives the log first. In the step that gives it the vote, the old one leaves: the
/// quorum is never weaker than before. The old one may be dead.
#[derive(Args, Debug)]
#[command(after_help = "Example:
  raftctl member replace n3 --name=n4 --peer-urls=http://10.0.0.4:2380")]
pub(crate) struct ReplaceArgs {
    /// The id or the name of the member that leaves
    old: String,
    /// Where peers will reach the new member, separated by commas
    #[arg(long, value_name = "URL", value_delimiter = ',', required = true)]
    peer_urls: Vec<String>,
    /// The name the new member will be started with; that of the old one if not given
    #[arg(long)]
    name: Option<String>,
}

/// Take back a member whose data directory was lost.
///
/// Start it with an empty directory first. It keeps its id, loses its vote, receives the log and
/// votes again once it has caught up.
#[derive(Args, Debug)]
pub(crate) struct ReadmitArgs {
    /// Its id or its name
    member: String,
    /// The incarnation of the new disk, as its refusal names it; asked of the member if not given
    #[arg(long, value_name = "HEX")]
    incarnation: Option<String>,
}

/// Runs `member`.
pub(crate) async fn run(
    client: &Client,
    format: Format,
    command: MemberCommand,
) -> Result<Report, CliError> {
    match command {
        MemberCommand::List(args) => {
            Ok(Report::of(&members(client, args.consistency).await?, format))
        }
        MemberCommand::Show => show(client, format).await,
        MemberCommand::Add(args) => add(client, format, args).await,
        MemberCommand::Remove(args) => remove(client, format, args).await,
        MemberCommand::Update(args) => update(client, format, args).await,
        MemberCommand::Promote(args) => promote(client, format, args).await,
        MemberCommand::Demote(args) => demote(client, format, args).await,
        MemberCommand::Replace(args) => replace(client, format, args).await,
        MemberCommand::Readmit(args) => readmit(client, format, args).await,
    }
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

/// The member that is meant by an id in hexadecimal or by a name.
pub(crate) async fn find(client: &Client, word: &str) -> Result<Member, CliError> {
    let listed = members(client, Consistency::Linearizable).await?.members;
    let id = u64::from_str_radix(word, 16).ok();
    if let Some(member) = listed.iter().find(|member| Some(member.id) == id) {
        return Ok(member.clone());
    }
    let mut named: Vec<&Member> = listed.iter().filter(|member| member.name == word).collect();
    match (named.pop(), named.is_empty()) {
        (Some(member), true) => Ok(member.clone()),
        (found, _) => Err(CliError::Member {
            word: word.to_owned(),
            is_ambiguous: found.is_some(),
            listed: listed
                .iter()
                .map(|member| format!("{:x} {}", member.id, member.name).trim().to_owned())
                .collect(),
        }),
    }
}

async fn show(client: &Client, format: Format) -> Result<Report, CliError> {
    let call =
        async |to: Connection| to.membership().show(ShowRequest {}).await.map(Response::into_inner);
    Ok(Report::of(&Shown(client.read(call).await?), format))
}

async fn add(client: &Client, format: Format, args: AddArgs) -> Result<Report, CliError> {
    let AddArgs { name, peer_urls, learner: is_learner } = args;
    let request = MemberAddRequest { peer_urls, is_learner };
    let call = async |to: Connection| {
        to.cluster().member_add(request.clone()).await.map(Response::into_inner)
    };
    let answer = client.change(call).await?;
    let member = answer.member.unwrap_or_default();
    let start = Start::new(&name, &member, &answer.members, None);
    let changed = Changed {
        id: member.id,
        what: "added to",
        header: answer.header,
        members: answer.members,
        start: Some(start),
    };
    Ok(Report::of(&changed, format))
}

async fn remove(client: &Client, format: Format, args: RemoveArgs) -> Result<Report, CliError> {
    let id = find(client, &args.member).await?.id;
    if args.availability_at_risk {
        return own(client, format, Kind::Remove(id), (id, "removed from"), true).await;
    }
    let request = MemberRemoveRequest { id };
    let call =
        async |to: Connection| to.cluster().member_remove(request).await.map(Response::into_inner);
    let answer = client.change(call).await?;
    let (header, members) = (answer.header, answer.members);
    Ok(Report::of(&Changed { id, what: "removed from", header, members, start: None }, format))
}

async fn update(client: &Client, format: Format, args: UpdateArgs) -> Result<Report, CliError> {
    let id = find(client, &args.member).await?.id;
    let request = MemberUpdateRequest { id, peer_urls: args.peer_urls };
    let call = async |to: Connection| {
        to.cluster().member_update(request.clone()).await.map(Response::into_inner)
    };
    let answer = client.change(call).await?;
    let (header, members) = (answer.header, answer.members);
    Ok(Report::of(&Changed { id, what: "updated in", header, members, start: None }, format))
}

async fn promote(client: &Client, format: Format, args: PromoteArgs) -> Result<Report, CliError> {
    let id = find(client, &args.member).await?.id;
    let request = MemberPromoteRequest { id };
    let call =
        async |to: Connection| to.cluster().member_promote(request).await.map(Response::into_inner);
    let answer = client.change(call).await?;
    let (header, members) = (answer.header, answer.members);
    Ok(Report::of(&Changed { id, what: "promoted in", header, members, start: None }, format))
}

async fn demote(client: &Client, format: Format, args: DemoteArgs) -> Result<Report, CliError> {
    let id = find(client, &args.member).await?.id;
    own(client, format, Kind::Demote(id), (id, "demoted in"), args.availability_at_risk).await
}

async fn readmit(client: &Client, format: Format, args: ReadmitArgs) -> Result<Report, CliError> {
    let id = find(client, &args.member).await?.id;
    let readmit = Readmit { id, incarnation: args.incarnation.unwrap_or_default() };
    own(client, format, Kind::Readmit(readmit), (id, "readmitted to"), false).await
}

async fn replace(client: &Client, format: Format, args: ReplaceArgs) -> Result<Report, CliError> {
    let old = find(client, &args.old).await?;
    let add =
        Add { peer_urls: args.peer_urls, promotion: Promotion::Automatic.into(), replaces: old.id };
    let answer = change(client, Kind::Add(add), false).await?;
    let id = answer.added.first().copied().unwrap_or_default();
    let (header, members) = listed(answer);
    let member = members.iter().find(|member| member.id == id).cloned().unwrap_or_default();
    let name = args.name.unwrap_or_else(|| old.name.clone());
    let start = Some(Start::new(&name, &member, &members, Some(old.id)));
    let what = "added in the place of another to";
    Ok(Report::of(&Changed { id, what, header, members, start }, format))
}

/// Makes a change that only raftd knows.
async fn own(
    client: &Client,
    format: Format,
    kind: Kind,
    (id, what): (u64, &'static str),
    availability_at_risk: bool,
) -> Result<Report, CliError> {
    let (header, members) = listed(change(client, kind, availability_at_risk).await?);
    Ok(Report::of(&Changed { id, what, header, members, start: None }, format))
}

async fn change(
    client: &Client,
    kind: Kind,
    availability_at_risk: bool,
) -> Result<ChangeResponse, CliError> {
    let request =
        ChangeRequest { changes: vec![Change { kind: Some(kind) }], availability_at_risk };
    let call = async |to: Connection| {
        to.membership().change(request.clone()).await.map(Response::into_inner)
    };
    Ok(client.change(call).await?)
}

/// An answer of raftd's own service in the words of etcd, so that all commands print alike.
fn listed(answer: ChangeResponse) -> (Option<ResponseHeader>, Vec<Member>) {
    let ShowResponse { cluster_id, member_id, term, members, .. } =
        answer.membership.unwrap_or_default();
    let header = ResponseHeader { cluster_id, member_id, revision: 0, raft_term: term };
    let member = |state: MemberState| Member {
        id: state.id,
        name: state.name,
        peer_urls: state.peer_urls,
        client_urls: state.client_urls,
        is_learner: !state.is_voter,
    };
    (Some(header), members.into_iter().map(member).collect())
}
