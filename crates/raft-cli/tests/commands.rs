//! The program `raftctl` itself, against a server in this process: what each command asks, what it
//! prints, how it ends, and whom else it asks when the first endpoint is in trouble.

#[expect(dead_code, reason = "the other files of tests use the rest")]
mod server;

use std::process::{Output, Stdio};

use raft_api::EtcdError;
use raft_api::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use raft_api::etcdserverpb::range_request::{SortOrder, SortTarget};
use raft_api::etcdserverpb::request_op::Request;
use raft_api::etcdserverpb::{
    AlarmMember, AlarmRequest, AlarmType, CompactionRequest, Compare, DeleteRangeRequest, Member,
    MemberListRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
};
use raft_api::tonic::Status;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpSocket;
use tokio::process::Command;

use crate::server::{Asked, Server, Trouble};

/// How a command ended.
struct Ended {
    code: i32,
    stdout: String,
    stderr: String,
}

struct Raftctl(Command);

impl Raftctl {
    /// The program with an empty environment, so that the one of the tester plays no part.
    fn new(arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_raftctl"));
        command.env_clear().args(arguments).stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        Self(command)
    }

    fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.0.env(name, value);
        self
    }

    async fn run(self) -> Ended {
        self.run_with_input(b"").await
    }

    async fn run_with_input(mut self, input: &[u8]) -> Ended {
        let mut child = self.0.spawn().expect("the program was built");
        let mut stdin = child.stdin.take().expect("it is piped");
        // A command that does not read its input may be gone already.
        let _ = stdin.write_all(input).await;
        drop(stdin);
        let Output { status, stdout, stderr } = child.wait_with_output().await.expect("it ran");
        Ended {
            code: status.code().expect("it ended by itself"),
            stdout: String::from_utf8(stdout).expect("these tests print text"),
            stderr: String::from_utf8(stderr).expect("errors are text"),
        }
    }
}

/// Runs a command against a healthy server: what it asked, and what it printed.
async fn run(arguments: &[&str]) -> (Vec<Asked>, String) {
    run_with_input(arguments, b"").await
}

async fn run_with_input(arguments: &[&str], input: &[u8]) -> (Vec<Asked>, String) {
    let server = Server::start().await;
    let endpoint = server.endpoint();
    let arguments = [&["--endpoints", &endpoint], arguments].concat();
    let ended = Raftctl::new(&arguments).run_with_input(input).await;
    assert_eq!((ended.code, &ended.stderr[..]), (0, ""), "{arguments:?}");
    (server.asked(), ended.stdout)
}

/// Runs a command against several endpoints.
async fn run_at(endpoints: &[&str], arguments: &[&str]) -> Ended {
    let endpoints = endpoints.join(",");
    Raftctl::new(&[&["--endpoints", &endpoints], arguments].concat()).run().await
}

/// An address that refuses connections for as long as the socket lives: bound, never listening.
fn refusing() -> (TcpSocket, String) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    let address = socket.local_addr().expect("it is bound").to_string();
    (socket, address)
}

fn put_of(key: &'static str, value: &'static str) -> PutRequest {
    PutRequest { key: key.into(), value: value.into(), ..PutRequest::default() }
}

fn range_of(key: &'static str, range_end: &'static str) -> RangeRequest {
    RangeRequest { key: key.into(), range_end: range_end.into(), ..RangeRequest::default() }
}

#[tokio::test]
async fn put_sends_key_value_and_its_options() {
    let (asked, printed) = run(&["put", "k", "v"]).await;
    assert_eq!(asked, [Asked::Put(put_of("k", "v"))]);
    assert_eq!(printed, "OK\n");

    let (asked, printed) = run(&["put", "k", "-5", "--lease", "1f", "--prev-kv"]).await;
    assert_eq!(asked, [Asked::Put(PutRequest { lease: 0x1f, prev_kv: true, ..put_of("k", "-5") })]);
    assert_eq!(printed, "OK\nk\nstored\n");

    let (asked, _) = run(&["put", "k", "--ignore-value", "--ignore-lease"]).await;
    let expected = PutRequest { ignore_value: true, ignore_lease: true, ..put_of("k", "") };
    assert_eq!(asked, [Asked::Put(expected)]);
}

#[tokio::test]
async fn put_without_a_value_stores_its_standard_input_byte_for_byte() {
    let (asked, _) = run_with_input(&["put", "k"], b"two\nlines\n\xff").await;
    let expected = PutRequest { value: (&b"two\nlines\n\xff"[..]).into(), ..put_of("k", "") };
    assert_eq!(asked, [Asked::Put(expected)]);
}

#[tokio::test]
async fn get_turns_every_way_to_name_keys_into_a_range() {
    for (arguments, range_end) in [
        (&["get", "a"][..], ""),
        (&["get", "a", "c"], "c"),
        (&["get", "a", "--prefix"], "b"),
        (&["get", "a", "--from-key"], "\0"),
    ] {
        let (asked, printed) = run(arguments).await;
        assert_eq!(asked, [Asked::Range(range_of("a", range_end))], "{arguments:?}");
        assert_eq!(printed, "a\nstored\n");
    }
    let (asked, _) = run(&["get", "", "--prefix"]).await;
    assert_eq!(asked, [Asked::Range(range_of("\0", "\0"))]);
}

#[tokio::test]
async fn get_passes_on_its_options() {
    let check = async |options: &[&str], expected: RangeRequest| {
        let (asked, printed) = run(&[&["get", "a"], options].concat()).await;
        assert_eq!(asked, [Asked::Range(expected)], "{options:?}");
        printed
    };
    let all = range_of("a", "");
    check(&["--limit", "5", "--rev", "7"], RangeRequest { limit: 5, revision: 7, ..all.clone() })
        .await;
    check(&["--consistency", "s"], RangeRequest { serializable: true, ..all.clone() }).await;
    check(&["--consistency=l"], all.clone()).await;
    check(&["--keys-only"], RangeRequest { keys_only: true, ..all.clone() }).await;
    let counted = RangeRequest { count_only: true, ..all.clone() };
    assert_eq!(check(&["--count-only"], counted).await, "1\n");
    assert_eq!(check(&["--print-value-only"], all).await, "stored\n");
}

#[tokio::test]
async fn get_sorts_by_what_it_is_told() {
    let check = async |options: &[&str], order: SortOrder, target: SortTarget| {
        let (asked, _) = run(&[&["get", "a"], options].concat()).await;
        let (sort_order, sort_target) = (order.into(), target.into());
        let expected = RangeRequest { sort_order, sort_target, ..range_of("a", "") };
        assert_eq!(asked, [Asked::Range(expected)], "{options:?}");
    };
    check(&["--sort-by", "modify"], SortOrder::Ascend, SortTarget::Mod).await;
    check(&["--sort-by=VERSION", "--order=DESCEND"], SortOrder::Descend, SortTarget::Version).await;
    check(&["--sort-by=CREATE", "--order=ASCEND"], SortOrder::Ascend, SortTarget::Create).await;
    check(&["--sort-by=VALUE"], SortOrder::Ascend, SortTarget::Value).await;
    check(&["--order=descend"], SortOrder::Descend, SortTarget::Key).await;
    // That is how keys are held; nothing has to be sorted.
    check(&["--sort-by=KEY", "--order=ASCEND"], SortOrder::None, SortTarget::Key).await;
}

#[tokio::test]
async fn del_sends_a_range_and_prints_how_many() {
    let delete = |range_end: &'static str, prev_kv| {
        let (key, range_end) = ("a".into(), range_end.into());
        Asked::DeleteRange(DeleteRangeRequest { key, range_end, prev_kv })
    };
    let (asked, printed) = run(&["del", "a"]).await;
    assert_eq!((asked, &printed[..]), (vec![delete("", false)], "1\n"));
    let (asked, printed) = run(&["del", "a", "--prefix", "--prev-kv"]).await;
    assert_eq!((asked, &printed[..]), (vec![delete("b", true)], "1\na\nstored\n"));
    let (asked, _) = run(&["del", "a", "--from-key"]).await;
    assert_eq!(asked, [delete("\0", false)]);
    let (asked, _) = run(&["del", "a", "c"]).await;
    assert_eq!(asked, [delete("c", false)]);
}

#[tokio::test]
async fn txn_sends_its_standard_input_as_one_request() {
    let input = b"mod(\"a\") > \"0\"\n\nput a \"b c\"\n\nget a\n\n";
    let op = |request| RequestOp { request: Some(request) };
    let expected = TxnRequest {
        compare: vec![Compare {
            result: CompareResult::Greater.into(),
            target: CompareTarget::Mod.into(),
            key: "a".into(),
            target_union: Some(TargetUnion::ModRevision(0)),
            ..Compare::default()
        }],
        success: vec![op(Request::RequestPut(put_of("a", "b c")))],
        failure: vec![op(Request::RequestRange(range_of("a", "")))],
    };
    let (asked, printed) = run_with_input(&["txn"], input).await;
    assert_eq!(asked, [Asked::Txn(expected.clone())]);
    assert_eq!(printed, "SUCCESS\n");

    let server = Server::start().await;
    let arguments = ["--endpoints", &server.endpoint(), "txn", "-i"];
    let ended = Raftctl::new(&arguments).run_with_input(input).await;
    assert_eq!(server.asked(), [Asked::Txn(expected)]);
    let questions =
        "compares:\nsuccess requests (get, put, del):\nfailure requests (get, put, del):\n";
    assert_eq!((&ended.stdout[..], &ended.stderr[..]), ("SUCCESS\n", questions));
}

#[tokio::test]
async fn compact_sends_a_revision_under_both_of_its_names() {
    let (asked, printed) = run(&["compact", "7"]).await;
    assert_eq!(asked, [Asked::Compact(CompactionRequest { revision: 7, physical: false })]);
    assert_eq!(printed, "compacted revision 7\n");
    let (asked, _) = run(&["compaction", "7", "--physical"]).await;
    assert_eq!(asked, [Asked::Compact(CompactionRequest { revision: 7, physical: true })]);
}

#[tokio::test]
async fn member_list_asks_as_of_now_unless_told_otherwise() {
    let (asked, _) = run(&["member", "list"]).await;
    assert_eq!(asked, [Asked::MemberList(MemberListRequest { linearizable: true })]);
    let (asked, printed) = run(&["member", "list", "--consistency=s", "-w", "json"]).await;
    assert_eq!(asked, [Asked::MemberList(MemberListRequest { linearizable: false })]);
    let header = "{\"header\":{\"cluster_id\":1,\"member_id\":2,\"revision\":3,\"raft_term\":4}}\n";
    assert_eq!(printed, header);
}

#[tokio::test]
async fn version_asks_nobody() {
    let (asked, printed) = run(&["version"]).await;
    assert_eq!(asked, []);
    let expected = format!("raftctl version: {}\nAPI version: 3.7\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(printed, expected);
}

#[tokio::test]
async fn status_asks_every_endpoint_and_tells_of_those_that_are_away() {
    let (one, two) = (Server::start().await, Server::start().await);
    let (_socket, away) = refusing();
    let endpoints = [&one.endpoint()[..], &away, &two.endpoint()];
    for command in [&["endpoint", "status"][..], &["status"]] {
        let ended = run_at(&endpoints, command).await;
        let row = "2, 3.6.14, , 0 B, 0 B, 0%, 0 B, true, false, 0, 0, 0, , , false";
        assert_eq!(ended.stdout, format!("{}, {row}\n{}, {row}\n", endpoints[0], endpoints[2]));
        let start = format!("error: {away}: cannot connect: ");
        assert!(ended.stderr.starts_with(&start), "{}", ended.stderr);
        assert_eq!(ended.code, 1);
    }
    assert_eq!((one.asked().len(), two.asked().len()), (2, 2));
}

#[tokio::test]
async fn status_of_the_cluster_asks_the_members_wherever_they_are() {
    let other = Server::start().await;
    let member = |id, client_urls| Member { id, client_urls, ..Member::default() };
    let members = vec![
        member(1, vec![format!("http://{}", other.endpoint())]),
        member(0x2f, Vec::new()),
        member(3, vec!["https://db3:2379".to_owned()]),
    ];
    let asked_first = Server::start().await.with_members(members);
    let ended = run_at(&[&asked_first.endpoint()], &["status", "--cluster"]).await;
    assert_eq!(asked_first.asked(), [Asked::MemberList(MemberListRequest { linearizable: true })]);
    assert_eq!(other.asked(), [Asked::Status]);
    assert!(ended.stdout.starts_with(&format!("http://{}, 2, ", other.endpoint())));
    let expected = "error: member 2f has no client address yet\n\
        error: member 3 at https://db3:2379: this raftctl is built without TLS, use http://\n";
    assert_eq!((ended.code, &ended.stderr[..]), (1, expected));
}

#[tokio::test]
async fn health_is_a_linearizable_read_and_no_alarm() {
    let (asked, printed) = run(&["endpoint", "health"]).await;
    let expected = [Asked::Range(range_of("health", "")), Asked::Alarm(AlarmRequest::default())];
    assert_eq!(asked, expected);
    assert!(printed.contains(" is healthy: successfully committed proposal: took = "), "{printed}");

    // Who may not read the key learns from the refusal that the node works.
    let server = Server::start().await;
    let server = server.with_trouble(Trouble::Refuse(EtcdError::PermissionDenied.into()));
    assert_eq!(run_at(&[&server.endpoint()], &["endpoint", "health"]).await.code, 0);
}

#[tokio::test]
async fn one_sick_endpoint_makes_the_exit_code_1_and_hides_no_healthy_one() {
    let alarm = AlarmMember { member_id: 0x2e, alarm: AlarmType::Nospace.into() };
    let full = Server::start().await.with_alarm(alarm);
    let lost = Server::start().await.with_trouble(Trouble::Refuse(EtcdError::NoLeader.into()));
    let well = Server::start().await;
    let endpoints = [&full.endpoint()[..], &lost.endpoint(), &well.endpoint()];
    let ended = run_at(&endpoints, &["endpoint", "health"]).await;
    let lines: Vec<_> = ended.stdout.lines().collect();
    let failed = "is unhealthy: failed to commit proposal:";
    assert_eq!(lines[0], format!("{} {failed} active alarms: NOSPACE at 2e", endpoints[0]));
    let reason = "etcdserver: no leader (Unavailable)";
    assert_eq!(lines[1], format!("{} {failed} {reason}", endpoints[1]));
    assert!(lines[2].starts_with(&format!("{} is healthy", endpoints[2])), "{}", lines[2]);
    assert_eq!((ended.code, &ended.stderr[..]), (1, "error: 2 of 3 endpoints are not healthy\n"));
}

#[tokio::test]
async fn a_read_goes_on_to_the_next_endpoint_if_the_first_is_in_trouble() {
    let (_socket, away) = refusing();
    let well = Server::start().await;
    let ended = run_at(&[&away, &well.endpoint()], &["get", "a"]).await;
    assert_eq!((ended.code, &ended.stdout[..]), (0, "a\nstored\n"), "{}", ended.stderr);
    for trouble in [
        Trouble::Refuse(EtcdError::NoLeader.into()),
        Trouble::Refuse(Status::unavailable("shutting down")),
        Trouble::HangUp,
        Trouble::Hang,
    ] {
        let text = format!("{trouble:?}");
        let first = Server::start().await.with_trouble(trouble);
        let second = Server::start().await;
        let endpoints = [&first.endpoint()[..], &second.endpoint()];
        let ended = run_at(&endpoints, &["get", "a", "--command-timeout", "4s"]).await;
        assert_eq!((ended.code, &ended.stdout[..]), (0, "a\nstored\n"), "{text} {}", ended.stderr);
        assert_eq!((first.asked().len(), second.asked().len()), (1, 1), "{text}");
    }
}

#[tokio::test]
async fn a_read_that_is_answered_with_an_error_has_its_answer() {
    let first = Server::start().await.with_trouble(Trouble::Refuse(EtcdError::Compacted.into()));
    let second = Server::start().await;
    let endpoints = [&first.endpoint()[..], &second.endpoint()];
    let ended = run_at(&endpoints, &["get", "a", "--rev", "1"]).await;
    let text = "etcdserver: mvcc: required revision has been compacted (OutOfRange)";
    assert_eq!(ended.stderr, format!("error: {}: {text}\n", endpoints[0]));
    assert_eq!((ended.code, second.asked().len()), (1, 0));
}

#[tokio::test]
async fn a_write_goes_on_to_the_next_endpoint_only_if_there_is_no_connection() {
    let (_socket, away) = refusing();
    let well = Server::start().await;
    let never = Server::start().await;
    let endpoints = [&away[..], &well.endpoint(), &never.endpoint()];
    let ended = run_at(&endpoints, &["put", "k", "v"]).await;
    assert_eq!((ended.code, &ended.stdout[..]), (0, "OK\n"), "{}", ended.stderr);
    assert_eq!(well.asked(), [Asked::Put(put_of("k", "v"))]);
    assert_eq!(never.asked(), []);
}

#[tokio::test]
async fn a_write_that_may_have_been_sent_is_never_sent_again() {
    for command in [&["put", "k", "v"][..], &["del", "k"], &["compact", "1"], &["txn"]] {
        for trouble in [
            Trouble::Refuse(EtcdError::Timeout.into()),
            Trouble::Refuse(Status::unavailable("shutting down")),
            Trouble::HangUp,
        ] {
            check_sent_once(command, trouble).await;
        }
    }
    check_sent_once(&["put", "k", "v", "--command-timeout", "4s"], Trouble::Hang).await;
}

/// Of two endpoints the first is asked and in trouble; the second must not hear of it.
async fn check_sent_once(command: &[&str], trouble: Trouble) {
    let text = format!("{command:?} {trouble:?}");
    let first = Server::start().await.with_trouble(trouble);
    let second = Server::start().await;
    let endpoints = format!("{},{}", first.endpoint(), second.endpoint());
    let raftctl = Raftctl::new(&[command, &["--endpoints", &endpoints]].concat());
    let ended = raftctl.run_with_input(b"\nput k v\n\n").await;
    assert_eq!((first.asked().len(), second.asked().len()), (1, 0), "{text}");
    assert_eq!((ended.code, &ended.stdout[..]), (1, ""), "{text}");
    let start = format!("error: {}: ", first.endpoint());
    let end = "; it is unknown whether the write was applied, read before you repeat it\n";
    assert!(ended.stderr.starts_with(&start), "{text} {}", ended.stderr);
    assert!(ended.stderr.ends_with(end), "{text} {}", ended.stderr);
}

#[tokio::test]
async fn a_transaction_that_only_reads_is_a_read() {
    let first = Server::start().await.with_trouble(Trouble::Refuse(EtcdError::NoLeader.into()));
    let second = Server::start().await;
    let endpoints = format!("{},{}", first.endpoint(), second.endpoint());
    let ended = Raftctl::new(&["txn", "--endpoints", &endpoints])
        .run_with_input(b"mod(\"a\") > 0\n\nget a\n\nget b\n")
        .await;
    assert_eq!((ended.code, &ended.stdout[..]), (0, "SUCCESS\n"), "{}", ended.stderr);
    assert_eq!((first.asked().len(), second.asked().len()), (1, 1));
}

#[tokio::test]
async fn if_nobody_can_be_reached_everybody_is_named() {
    let ((_first, first), (_second, second)) = (refusing(), refusing());
    let ended = run_at(&[&first, &second], &["put", "k", "v"]).await;
    let lines: Vec<_> = ended.stderr.lines().collect();
    assert_eq!(lines[0], "error: none of 2 endpoints answered");
    assert!(lines[1].starts_with(&format!("  {first}: cannot connect: ")), "{}", lines[1]);
    assert!(lines[2].starts_with(&format!("  {second}: cannot connect: ")), "{}", lines[2]);
    assert!(lines[2].ends_with("; the write was not applied"), "{}", lines[2]);
    assert_eq!((ended.code, &ended.stdout[..]), (1, ""));
}

#[tokio::test]
async fn wrong_input_ends_with_2_before_anything_is_sent() {
    let server = Server::start().await;
    let endpoint = server.endpoint();
    let raftctl = Raftctl::new(&["--endpoints", &endpoint, "txn"]);
    let ended = raftctl.run_with_input(b"mod(\"a\") > 0\n\nput a\n").await;
    let expected = "error: standard input: line 3: no value\n";
    assert_eq!((ended.code, &ended.stderr[..]), (2, expected));
    for arguments in [
        &["frobnicate"][..],
        &["get"],
        &["get", "a", "--prefix", "--from-key"],
        &["put", "a", "b", "--lease", "xyz"],
        &["get", "a", "-w", "yaml"],
        &["get", "a", "--command-timeout", "0s"],
    ] {
        let ended = run_at(&[&endpoint], arguments).await;
        assert_eq!((ended.code, &ended.stdout[..]), (2, ""), "{arguments:?}");
        assert!(ended.stderr.starts_with("error: "), "{arguments:?} {}", ended.stderr);
    }
    let ended = run_at(&["localhost"], &["get", "a"]).await;
    assert!(ended.stderr.contains("no port, expected host:port"), "{}", ended.stderr);
    assert_eq!(server.asked(), []);
}

#[tokio::test]
async fn the_environment_stands_in_for_options_ours_before_that_of_etcd() {
    let (ours, theirs) = (Server::start().await, Server::start().await);
    let run = async |variables: &[(&str, &str)], arguments: &[&str]| {
        let raftctl = Raftctl::new(&[&["get", "a"], arguments].concat());
        let with =
            |raftctl: Raftctl, (name, value): &(&str, &str)| raftctl.with_variable(name, value);
        let ended = variables.iter().fold(raftctl, with).run().await;
        assert_eq!(ended.code, 0, "{variables:?} {}", ended.stderr);
        (ours.asked().len(), theirs.asked().len(), ended.stdout)
    };
    let (ours_at, theirs_at) = (&ours.endpoint()[..], &theirs.endpoint()[..]);
    let stored = "a\nstored\n".to_owned();
    let both = [("RAFTCTL_ENDPOINTS", ours_at), ("ETCDCTL_ENDPOINTS", theirs_at)];
    assert_eq!(run(&both, &[]).await, (1, 0, stored.clone()));
    assert_eq!(run(&both[1..], &[]).await, (1, 1, stored.clone()));
    let empty = [("RAFTCTL_ENDPOINTS", ""), ("ETCDCTL_ENDPOINTS", theirs_at)];
    assert_eq!(run(&empty, &[]).await, (1, 2, stored.clone()));
    // The command line wins over both.
    assert_eq!(run(&both, &["--endpoints", theirs_at]).await, (1, 3, stored));
    let json = [("RAFTCTL_ENDPOINTS", ours_at), ("ETCDCTL_WRITE_OUT", "json")];
    let (_, _, printed) = run(&json, &[]).await;
    assert!(printed.starts_with("{\"header\":"), "{printed}");
}

#[tokio::test]
async fn an_answer_larger_than_a_message_usually_is_arrives() {
    let server = Server::start().await.with_value(vec![b'x'; 5 << 20].into());
    let ended = run_at(&[&server.endpoint()], &["get", "a", "--print-value-only"]).await;
    assert_eq!((ended.code, ended.stdout.len()), (0, (5 << 20) + 1), "{}", ended.stderr);
}

#[tokio::test]
async fn help_explains_the_exit_codes_and_shows_examples() {
    let ended = Raftctl::new(&["--help"]).run().await;
    assert_eq!(ended.code, 0);
    for part in ["Exit codes:", "Examples:", "RAFTCTL_ENDPOINTS", "ETCDCTL_ENDPOINTS"] {
        assert!(ended.stdout.contains(part), "{part}");
    }
    for command in ["put", "get", "del", "txn", "compact"] {
        let ended = Raftctl::new(&[command, "--help"]).run().await;
        assert!(ended.stdout.contains("Example"), "{command}");
    }
}
