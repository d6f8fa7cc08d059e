//! The commands about members and leaders, against a server in this process: what each asks, what
//! it prints, how it ends.

#[expect(dead_code, reason = "the other files of tests use the rest")]
mod server;

use std::process::Output;

use raft_api::EtcdError;
use raft_api::etcdserverpb::{
    Member, MemberAddRequest, MemberListRequest, MemberPromoteRequest, MemberRemoveRequest,
    MemberUpdateRequest, MoveLeaderRequest,
};
use raft_api::membership::change::Kind;
use raft_api::membership::{Add, Change, ChangeRequest, Readmit, TransferLeadershipRequest};
use tokio::process::Command;

use crate::server::{Asked, NEW, Server, Trouble};

const LIST: Asked = Asked::MemberList(MemberListRequest { linearizable: true });

fn members() -> Vec<Member> {
    let member = |id: u64, name: &str| Member {
        id,
        name: name.to_owned(),
        peer_urls: vec![format!("http://h{id}:2380")],
        ..Member::default()
    };
    vec![member(1, "n1"), member(2, "n2"), member(0xf, "n2")]
}

/// Runs a command; gives what was asked, and its status, output and errors.
async fn run_at(server: &Server, arguments: &[&str]) -> (Vec<Asked>, i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_raftctl"));
    command.env_clear().args(["--endpoints", &server.endpoint()]).args(arguments);
    let Output { status, stdout, stderr } = command.output().await.expect("the program was built");
    let text = |bytes| String::from_utf8(bytes).expect("it prints text");
    (server.asked(), status.code().expect("it ended by itself"), text(stdout), text(stderr))
}

/// Runs a command that goes well; gives what was asked and printed.
async fn run(arguments: &[&str]) -> (Vec<Asked>, String) {
    let server = Server::start().await.with_members(members());
    let (asked, code, stdout, stderr) = run_at(&server, arguments).await;
    assert_eq!((code, &stderr[..]), (0, ""), "{arguments:?}");
    (asked, stdout)
}

fn change(kind: Kind) -> Asked {
    let changes = vec![Change { kind: Some(kind) }];
    Asked::Change(ChangeRequest { changes, availability_at_risk: false })
}

fn urls() -> Vec<String> {
    vec!["http://a:1".to_owned(), "http://b:1".to_owned()]
}

const URLS: &str = "--peer-urls=http://a:1,http://b:1";

/// A member is added in one call, and the user is told what to start it with.
#[tokio::test]
async fn add_prints_what_to_start_the_member_with() {
    let (asked, printed) = run(&["member", "add", "n3", URLS]).await;
    let request = MemberAddRequest { peer_urls: urls(), is_learner: false };
    assert_eq!(asked, [Asked::MemberAdd(request.clone())]);
    let expected = "Member              abc added to cluster                1\n\n\
        ETCD_NAME=\"n3\"\n\
        ETCD_INITIAL_CLUSTER=\"n1=http://h1:2380,n2=http://h2:2380,n2=http://h15:2380,\
        n3=http://a:1,n3=http://b:1\"\n\
        ETCD_INITIAL_ADVERTISE_PEER_URLS=\"http://a:1,http://b:1\"\n\
        ETCD_INITIAL_CLUSTER_STATE=\"existing\"\n";
    assert_eq!(printed, expected);
    let (asked, printed) = run(&["member", "add", "n3", URLS, "--learner", "-w", "json"]).await;
    assert_eq!(asked, [Asked::MemberAdd(MemberAddRequest { is_learner: true, ..request })]);
    assert!(printed.contains("\"member\":{\"ID\":2748,\"peerURLs\":[\"http://a:1\""), "{printed}");
}

/// Members are named by id or by name; what etcd can do is asked in its words.
#[tokio::test]
async fn what_etcd_can_do_is_asked_in_its_words() {
    for (arguments, expected, said) in [
        (
            &["member", "remove", "n1"][..],
            Asked::MemberRemove(MemberRemoveRequest { id: 1 }),
            "Member                1 removed from cluster                1\n",
        ),
        (
            &["member", "update", "f", URLS],
            Asked::MemberUpdate(MemberUpdateRequest { id: 0xf, peer_urls: urls() }),
            "Member                f updated in cluster                1\n",
        ),
        (
            &["member", "promote", "2"],
            Asked::MemberPromote(MemberPromoteRequest { id: 2 }),
            "Member                2 promoted in cluster                1\n",
        ),
    ] {
        let (asked, printed) = run(arguments).await;
        assert_eq!((&asked[..], &printed[..]), (&[LIST, expected][..], said), "{arguments:?}");
    }
}

/// What etcd cannot do is asked of raftd's own service.
#[tokio::test]
async fn what_etcd_cannot_do_is_asked_of_raftd() {
    let readmit = |incarnation: &str| {
        change(Kind::Readmit(Readmit { id: 1, incarnation: incarnation.to_owned() }))
    };
    for (arguments, expected) in [
        (&["member", "demote", "n1"][..], change(Kind::Demote(1))),
        (&["member", "readmit", "1"], readmit("")),
        (&["member", "readmit", "n1", "--incarnation=5eed"], readmit("5eed")),
    ] {
        let (asked, _) = run(arguments).await;
        assert_eq!(asked, [LIST, expected], "{arguments:?}");
    }
    let (asked, _) = run(&["member", "remove", "n1", "--availability-at-risk"]).await;
    let changes = vec![Change { kind: Some(Kind::Remove(1)) }];
    let forced = Asked::Change(ChangeRequest { changes, availability_at_risk: true });
    assert_eq!(asked, [LIST, forced]);

    let (asked, printed) = run(&["member", "replace", "n1", "--name=n9", URLS]).await;
    let add = Add { peer_urls: urls(), promotion: 0, replaces: 1 };
    assert_eq!(asked, [LIST, change(Kind::Add(add))]);
    let line = format!("Member {NEW:16x} added in the place of another to cluster {:16x}\n", 1);
    assert!(printed.starts_with(&line), "{printed}");
    assert!(printed.contains("ETCD_NAME=\"n9\"") && !printed.contains("n1="), "{printed}");
}

/// `transfer-leader` may be asked of any member, `move-leader` goes to the leader.
#[tokio::test]
async fn leadership_is_moved_by_either_command() {
    let (asked, printed) = run(&["transfer-leader", "n1"]).await;
    let request = TransferLeadershipRequest { target: 1 };
    assert_eq!(asked, [LIST, Asked::Status, Asked::TransferLeadership(request)]);
    assert_eq!(printed, "Leadership transferred from 2 to 1\n");
    let (asked, _) = run(&["transfer-leader"]).await;
    let request = TransferLeadershipRequest { target: 0 };
    assert_eq!(asked, [Asked::Status, Asked::TransferLeadership(request)]);
    let (asked, printed) = run(&["move-leader", "1", "-w", "json"]).await;
    let request = MoveLeaderRequest { target_id: 1 };
    assert_eq!(asked, [LIST, Asked::Status, Asked::MoveLeader(request)]);
    assert_eq!(printed, "{\"from\":2,\"to\":1}\n");
}

/// A name that nobody has, or two, changes nothing; a refusal says that nothing was changed; wrong
/// use ends with 2 before anything is asked.
#[tokio::test]
async fn a_command_that_fails_says_what_became_of_it() {
    let server = Server::start().await.with_members(members());
    let (asked, code, _, said) = run_at(&server, &["member", "remove", "zebra"]).await;
    assert_eq!((asked, code), (vec![LIST], 1));
    let expected = "error: no member is called zebra; name one by its id, of these: 1 n1, 2 n2, f \
                    n2\n";
    assert_eq!(said, expected);
    let (_, code, _, said) = run_at(&server, &["member", "remove", "n2"]).await;
    assert!(code == 1 && said.starts_with("error: several members are called n2; "), "{said}");

    let trouble = Trouble::Refuse(EtcdError::PeerUrlExist.into());
    let server = Server::start().await.with_trouble(trouble);
    let (_, code, _, said) = run_at(&server, &["member", "add", "n3", URLS]).await;
    assert_eq!(code, 1);
    assert!(said.contains("etcdserver: Peer URLs already exists"), "{said}");
    assert!(said.ends_with("; nothing was changed\n"), "{said}");

    let trouble = Trouble::Refuse(EtcdError::Timeout.into());
    let server = Server::start().await.with_trouble(trouble);
    let (_, _, _, said) = run_at(&server, &["member", "add", "n3", URLS]).await;
    assert!(said.contains("unknown whether it was done, look at `raftctl member list`"), "{said}");

    let server = Server::start().await;
    for wrong in [&["member", "add", "n3"][..], &["member", "add", URLS], &["member", "remove"]] {
        let (asked, code, _, _) = run_at(&server, wrong).await;
        assert_eq!((asked.len(), code), (0, 2), "{wrong:?}");
    }
}
