//! The commands about backups: what is saved, what is refused, what is said of a file.

#[expect(dead_code, reason = "the other files of tests use the rest")]
mod server;

use std::fs;
use std::path::Path;
use std::process::Output;

use raft_api::tonic::Status;
use tokio::process::Command;

use crate::server::{Asked, Server, Trouble};

/// A sound backup, of two keys at revision 5.
const SOUND: &[u8] = include_bytes!("../../raft-backup/tests/golden/backup-v1");

const HASH: &str = "8cd7dd583faecb177da1fcf36321ec58f05848dbaeb3e985ec03b1da42065b17";

/// How a command ended: its status, output and errors.
type Ended = (i32, String, String);

async fn run(arguments: &[&str], directory: &Path) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_raftctl"));
    command.env_clear().args(arguments).current_dir(directory);
    let Output { status, stdout, stderr } = command.output().await.expect("the program was built");
    let text = |bytes| String::from_utf8(bytes).expect("it prints text");
    (status.code().expect("it ended by itself"), text(stdout), text(stderr))
}

async fn save(server: &Server, directory: &Path, more: &[&str]) -> Ended {
    let endpoint = server.endpoint();
    let arguments = [&["--endpoints", &endpoint, "snapshot", "save", "backup"], more].concat();
    run(&arguments, directory).await
}

fn files(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("it is there");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("it is there").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// What the server sends is in the file byte for byte, and nothing else is left; nothing shows on
/// standard error, which is no terminal.
#[tokio::test]
async fn a_backup_is_saved_as_it_was_sent() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start().await.with_backup(&[&SOUND[..100], &SOUND[100..]], None);
    let ended = save(&server, directory.path(), &[]).await;
    assert_eq!(ended, (0, "Snapshot saved at backup\n".to_owned(), String::new()));
    assert_eq!(server.asked(), [Asked::Snapshot]);
    assert_eq!(fs::read(directory.path().join("backup")).expect("it was saved"), SOUND);
    assert_eq!(files(directory.path()), ["backup"]);
}

/// A file of that name is left as it is, and nobody is asked for anything.
#[tokio::test]
async fn an_existing_file_is_not_overwritten() {
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("backup"), "mine").expect("it can be written");
    let server = Server::start().await.with_backup(&[SOUND], None);
    let (code, stdout, stderr) = save(&server, directory.path(), &[]).await;
    assert_eq!((code, &stdout[..]), (2, ""));
    assert!(stderr.contains("backup is there already"), "{stderr}");
    assert_eq!(server.asked(), []);
    assert_eq!(fs::read(directory.path().join("backup")).expect("it is there"), b"mine");
    assert_eq!(files(directory.path()), ["backup"]);
}

/// A stream that breaks, ends early or brings something else leaves no file behind, under no name.
#[tokio::test]
async fn what_is_not_a_whole_backup_is_not_saved() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut damaged = SOUND.to_vec();
    damaged[120] ^= 1;
    let broken = Some(Status::internal("the disk failed"));
    for (bytes, end, expected) in [
        (&SOUND[..100], broken, "the disk failed (Internal) after 100 bytes of the backup"),
        (&SOUND[..100], None, "what it sent is damaged at byte 100: the file ends here"),
        (&damaged[..], None, "what it sent is damaged at byte 106: chunk 1 has checksum"),
        (b"key=value", None, "what it sent is no backup of raftd"),
    ] {
        let server = Server::start().await.with_backup(&[bytes], end);
        let (code, stdout, stderr) = save(&server, directory.path(), &[]).await;
        assert_eq!((code, &stdout[..]), (1, ""), "{expected}");
        assert!(stderr.contains(expected) && stderr.contains(&server.endpoint()), "{stderr}");
        assert!(stderr.ends_with("; nothing was saved\n"), "{stderr}");
        assert_eq!(files(directory.path()), [""; 0], "{expected}");
    }
}

/// A server that refuses or hangs is passed over for the next one; with a time limit the command
/// ends, and nothing is left.
#[tokio::test]
async fn a_server_in_trouble_is_passed_over() {
    let directory = tempfile::tempdir().expect("a directory");
    let trouble = |trouble| async { Server::start().await.with_trouble(trouble) };
    let hangs = trouble(Trouble::Hang).await.endpoint();
    let limited = ["--command-timeout=500ms", "snapshot", "save", "backup"];
    let arguments = [&["--endpoints", &hangs][..], &limited].concat();
    let (code, _, stderr) = run(&arguments, directory.path()).await;
    assert_eq!(code, 1, "{stderr}");
    assert_eq!(files(directory.path()), [""; 0]);

    let refuses = trouble(Trouble::Refuse(Status::unavailable("no"))).await;
    let well = Server::start().await.with_backup(&[SOUND], None);
    let endpoints = [refuses.endpoint(), well.endpoint()].join(",");
    let arguments = ["--endpoints", &endpoints, "snapshot", "save", "backup"];
    let (code, _, stderr) = run(&arguments, directory.path()).await;
    assert_eq!((code, &stderr[..]), (0, ""));
}

/// Good, damaged, of another version, something else, not there: each has a status and a sentence.
#[tokio::test]
async fn verify_tells_good_from_damaged_and_from_unreadable() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    let verify = async |bytes: &[u8]| {
        fs::write(path.join("f"), bytes).expect("it can be written");
        run(&["snapshot", "verify", "f"], path).await
    };
    let good = format!("f: good, 2 keys at revision 5, 544 B, SHA-256 {HASH}\n");
    assert_eq!(verify(SOUND).await, (0, good, String::new()));
    let mut damaged = SOUND.to_vec();
    damaged[300] = 9;
    for (bytes, status, said) in [
        (&damaged[..], 2, "error: f: damaged at byte 512: a hash of everything before"),
        (&SOUND[..500], 2, "error: f: damaged at byte 500: the file ends here"),
        (b"", 2, "error: f: damaged at byte 0: the file ends here"),
        (b"something else", 3, "error: f: no backup of raftd\n"),
    ] {
        let (code, stdout, stderr) = verify(bytes).await;
        assert_eq!((code, &stdout[..]), (status, ""), "{stderr}");
        assert!(stderr.starts_with(said), "{stderr}");
    }
    let (code, _, stderr) = run(&["snapshot", "verify", "nowhere"], path).await;
    assert_eq!(code, 3);
    assert!(stderr.starts_with("error: nowhere: cannot be read after byte 0: No such"), "{stderr}");
}

/// The first line is what etcd's command line prints; the header follows. A file of the wrong
/// length is damaged.
#[tokio::test]
async fn inspect_shows_what_a_backup_says_of_itself() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    fs::write(path.join("f"), SOUND).expect("it can be written");
    let simple = format!(
        "8cd7dd58, 5, 2, 544 B\nSHA-256: {HASH}\ncluster: cdf818194e3a8c32\n\
         applied: index 9, term 2\nstate: 28 bytes\nserver version: 0.1.0\n\
         member: 8e9e05c52164694d, n1, http://localhost:2380, http://localhost:2379\n"
    );
    for name in ["inspect", "status"] {
        let ended = run(&["snapshot", name, "f"], path).await;
        assert_eq!(ended, (0, simple.clone(), String::new()));
    }
    let json = format!(
        "{{\"hash\":2362957144,\"revision\":5,\"totalKey\":2,\"totalSize\":544,\"file\":\"f\",\
         \"sha256\":\"{HASH}\",\"cluster\":\"cdf818194e3a8c32\",\"appliedIndex\":9,\
         \"appliedTerm\":2,\"stateSize\":28,\"serverVersion\":\"0.1.0\",\"members\":[{{\
         \"ID\":10276657743932975437,\"name\":\"n1\",\"peerURLs\":[\"http://localhost:2380\"],\
         \"clientURLs\":[\"http://localhost:2379\"]}}]}}\n"
    );
    for command in ["inspect", "verify"] {
        let ended = run(&["snapshot", command, "f", "-w", "json"], path).await;
        assert_eq!(ended, (0, json.clone(), String::new()), "{command}");
    }
    let (_, fields, _) = run(&["snapshot", "status", "f", "-w", "fields"], path).await;
    let first = "\"Hash\" : 2362957144\n\"Revision\" : 5\n\"Keys\" : 2\n\"Size\" : 544\n";
    assert!(fields.starts_with(first), "{fields}");
    let (_, table, _) = run(&["snapshot", "status", "f", "-w", "table"], path).await;
    assert!(table.contains("| 8cd7dd58 |        5 |          2 |      544 B |"), "{table}");
    fs::write(path.join("f"), &SOUND[..543]).expect("it can be written");
    let (code, _, stderr) = run(&["snapshot", "inspect", "f"], path).await;
    assert_eq!(code, 2, "{stderr}");
}
