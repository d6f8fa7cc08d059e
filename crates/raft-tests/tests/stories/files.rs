//! What a member finds on its disk when it starts: a record that was being written when it died, a
//! record that was whole and is not any more, another process.
//!
//! The first is expected and dropped without a word to clients; the second is refused, because
//! going on would lose what was acknowledged; and a refusal changes nothing.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use raft_tests::{Batch, Cluster, Load, Segment, Settings, eventually, newest_segment, run};

/// Everything in a data directory but the lock, which says who looked last.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.file_name().is_some_and(|name| name != "LOCK") {
                let bytes = fs::read(&path).unwrap();
                files.insert(path, bytes);
            }
        }
    }
    files
}

fn write_at(path: &Path, offset: u64, bytes: &[u8]) {
    File::options().write(true).open(path).unwrap().write_all_at(bytes, offset).unwrap();
}

fn read_at(path: &Path, offset: u64, len: u64) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(len).unwrap()];
    File::open(path).unwrap().read_exact_at(&mut bytes, offset).unwrap();
    bytes
}

fn truncate(path: &Path, len: u64) {
    File::options().write(true).open(path).unwrap().set_len(len).unwrap();
}

/// Changes one byte, as a disk does that rots.
fn flip(path: &Path, offset: u64) {
    let byte = read_at(path, offset, 1)[0];
    write_at(path, offset, &[!byte]);
}

/// Starts a member that must refuse; gives what it said.
async fn refusal(cluster: &Cluster, member: usize) -> String {
    let before = contents(&cluster.data_dir(member));
    let output = run(&cluster.arguments(member), &[]).await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    let after = contents(&cluster.data_dir(member));
    let changed: Vec<&PathBuf> = before
        .iter()
        .filter(|(path, bytes)| after.get(*path) != Some(*bytes))
        .map(|(p, _)| p)
        .collect();
    assert!(changed.is_empty() && before.len() == after.len(), "changed: {changed:?}");
    said
}

/// A way to change the end of a log, and how a failed test calls it.
type Tear = (&'static str, fn(&Segment));

/// What may be there of the last record if its write did not finish.
const UNFINISHED: [Tear; 6] = [
    ("nothing", |segment| truncate(&segment.path, segment.last().offset)),
    ("half of its header", |segment| truncate(&segment.path, segment.last().offset + 30)),
    ("only its header", |segment| truncate(&segment.path, segment.last().offset + 64)),
    ("all but its last byte", |segment| {
        let Batch { offset, bytes } = segment.last();
        truncate(&segment.path, offset + bytes - 1);
    }),
    ("its first half, then zeros", |segment| {
        let Batch { offset, bytes } = segment.last();
        let half = usize::try_from(bytes / 2).unwrap();
        write_at(&segment.path, offset + bytes - bytes / 2, &vec![0; half]);
    }),
    ("all but its first byte", |segment| flip(&segment.path, segment.last().offset)),
];

/// What an unfinished write may leave behind the last record.
const REMAINS: [Tear; 4] = [
    ("noise", |segment| write_at(&segment.path, segment.last().next(), &[0xab; 100])),
    ("noise over several pages", |segment| {
        write_at(&segment.path, segment.last().next(), &[0xcd; 10_000]);
    }),
    ("half a header", |segment| {
        let header = read_at(&segment.path, segment.last().offset, 40);
        write_at(&segment.path, segment.last().next(), &header);
    }),
    ("the end of the file", |segment| {
        let Batch { offset, bytes } = segment.last();
        truncate(&segment.path, offset + bytes);
    }),
];

/// A single member dies while it writes a record that nobody was told of. Whatever is there of the
/// record, the member starts, without it and with every write it acknowledged.
#[tokio::test(flavor = "multi_thread")]
async fn an_unfinished_record_is_dropped_and_nothing_else() {
    let mut cluster = Cluster::of(1).await;
    let client = cluster.client(0);
    for (number, (what, tear)) in UNFINISHED.into_iter().enumerate() {
        client.write(&format!("k{number}"), what).await.unwrap();
        // Its answer is taken as never given: the record below it is torn.
        client.write("unfinished", what).await.unwrap();
        cluster.kill(0).await;
        tear(&newest_segment(&cluster.data_dir(0)));
        cluster.restart(0).await;
        assert_eq!(client.read("unfinished").await.unwrap(), None, "{what} is there of it");
        let found = client.read_all("k", false).await.unwrap();
        assert_eq!(found.kvs.len(), number + 1, "{what} is there of the next");
        assert_eq!(found.kvs[number].value, what);
    }
}

/// Whatever an unfinished write left behind the last record, a single member starts and has every
/// write it acknowledged.
#[tokio::test(flavor = "multi_thread")]
async fn remains_behind_the_last_record_do_no_harm() {
    let mut cluster = Cluster::of(1).await;
    let client = cluster.client(0);
    for (number, (what, tear)) in REMAINS.into_iter().enumerate() {
        client.write(&format!("k{number}"), what).await.unwrap();
        cluster.kill(0).await;
        tear(&newest_segment(&cluster.data_dir(0)));
        cluster.restart(0).await;
        let found = client.read_all("k", false).await.unwrap();
        assert_eq!(found.kvs.len(), number + 1, "behind {what}");
        assert_eq!(found.kvs[number].value, what);
    }
}

/// A follower loses power while it writes a record that its leader was not told of. Whatever is
/// there of the record, the follower starts and is given it again.
#[tokio::test(flavor = "multi_thread")]
async fn an_unfinished_record_comes_back_from_the_leader() {
    let settings = Settings { is_proxied: true, ..Settings::default() };
    let mut cluster = Cluster::start(settings).await;
    for (number, (what, tear)) in UNFINISHED.into_iter().enumerate() {
        let leader = cluster.leader().await;
        let follower = (leader + 1) % 3;
        // The follower hears and writes, and nobody hears that it has written.
        for other in [leader, (leader + 2) % 3] {
            cluster.network().cut(follower, other);
        }
        let key = format!("k{number}");
        cluster.client(leader).write(&key, what).await.unwrap();
        let client = cluster.client(follower);
        eventually("the follower has it", || async {
            let found = client.read_local(&key).await.map_err(|status| status.to_string())?;
            found.ok_or_else(|| format!("{key} is not there"))
        })
        .await;
        cluster.kill(follower).await;
        cluster.network().sever(follower);
        tear(&newest_segment(&cluster.data_dir(follower)));
        cluster.network().heal();
        cluster.restart(follower).await;
        let found = client.read_all("k", true).await.unwrap();
        assert_eq!(found.kvs.len(), number + 1, "{what} was there of the last");
        assert_eq!(found.kvs[number].value, what);
    }
}

/// A byte flips in a record that others follow, in its header and in its content. The member
/// refuses to start, names file and offset, and leaves the disk as it is. With the byte as it was,
/// everything is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_rots_is_refused_and_left_alone() {
    let mut cluster = Cluster::of(1).await;
    let load = Load::start("w", &cluster.urls(), 4, 100);
    load.progress(50).await;
    let history = load.stop().await;
    cluster.kill(0).await;

    let segment = newest_segment(&cluster.data_dir(0));
    let middle = segment.batches[segment.batches.len() / 2];
    for (place, offset) in [
        ("its first byte", middle.offset),
        ("its checksum", middle.offset + 5),
        ("its table", middle.offset + 70),
        ("its last byte", middle.offset + middle.bytes - 1),
    ] {
        flip(&segment.path, offset);
        let said = refusal(&cluster, 0).await;
        assert!(said.contains(segment.path.to_str().unwrap()), "{place}: {said}");
        assert!(said.contains(&format!("at byte {}", middle.offset)), "{place}: {said}");
        flip(&segment.path, offset);
    }
    cluster.restart(0).await;
    history.check(&cluster.client(0)).await;
}

/// A member that was stopped in order noted how far its log went. If the end is missing then, that
/// was no unfinished write: it is refused.
#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_was_surely_written_is_missed() {
    let mut cluster = Cluster::of(1).await;
    cluster.client(0).write("k", "v").await.unwrap();
    assert_eq!(cluster.stop(0).await.code(), Some(0));
    let segment = newest_segment(&cluster.data_dir(0));
    let bytes = fs::read(&segment.path).unwrap();
    truncate(&segment.path, segment.last().offset + 10);
    let said = refusal(&cluster, 0).await;
    assert!(said.contains(segment.path.to_str().unwrap()), "{said}");
    assert!(said.contains("SUPER says that it was durable"), "{said}");
    fs::write(&segment.path, bytes).unwrap();
    cluster.restart(0).await;
    assert_eq!(cluster.client(0).read("k").await.unwrap().as_deref(), Some("v"));
}

/// Two processes never share a data directory: the second is refused, told which one and who has
/// it, and the first does not notice.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_a_data_directory_is_refused() {
    let mut cluster = Cluster::of(1).await;
    cluster.client(0).write("k", "v").await.unwrap();
    let pid = cluster.process(0).pid().unwrap();
    let other = Cluster::prepare(Settings::default());
    let url = |port| format!("http://127.0.0.1:{port}");
    let (client, peer) = (url(other.ports().client(0)), url(other.ports().peer(0)));
    let mut arguments = cluster.arguments(0);
    // The last of several equal flags counts.
    arguments.push(format!("--listen-client-urls={client}"));
    arguments.push(format!("--listen-peer-urls={peer}"));
    let output = run(&arguments, &[]).await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&cluster.data_dir(0).display().to_string()), "{said}");
    assert!(said.contains("another process uses this data directory"), "{said}");
    assert!(said.contains(&format!("process {pid}")), "{said}");
    cluster.client(0).write("k", "w").await.unwrap();
    cluster.kill(0).await;
    cluster.restart(0).await;
    assert_eq!(cluster.client(0).read("k").await.unwrap().as_deref(), Some("w"));
}
