//! A cluster is lost and made again from a backup: what is in it, and who may belong to it.

use raft_api::EtcdError;
use raft_backup::{Header, verify};
use raft_server::backup::BACKUPS_MAX;
use raft_tests::{Cluster, Failure, History, Load, Outcome, Settings, eventually, run};

/// Saves a backup through a member, as a file that is verified.
async fn save(cluster: &Cluster, member: usize, name: &str) -> (String, Header) {
    let bytes = cluster.client(member).backup().await.unwrap();
    let (header, _) = verify(&bytes[..]).unwrap();
    assert_eq!(bytes.len() as u64, header.file_bytes());
    let path = cluster.dir().join(name);
    std::fs::write(&path, bytes).unwrap();
    (path.display().to_string(), header)
}

/// Restores a file for a member with the flags that it will be started with; gives what it said.
async fn restore(cluster: &Cluster, member: usize, file: &str) -> String {
    let words = [&["restore".to_owned(), file.to_owned()], &cluster.arguments(member)[..]].concat();
    let output = run(&words, &[]).await;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8(said).unwrap();
    assert!(output.status.success(), "{said}");
    said
}

/// The history as a store at this revision knows it: what was acknowledged later is not there.
fn until(history: &History, revision: i64) -> History {
    let mut past = history.clone();
    for write in &mut past.writes {
        if matches!(write.outcome, Outcome::Acknowledged(at) if at > revision) {
            write.outcome = Outcome::Refused(Failure::Strange("later than the backup".to_owned()));
        }
    }
    past
}

/// A backup is saved through a follower while all members take writes. Restored as a cluster with
/// the same flags, it serves every write acknowledged before the saving began, of those during it
/// a prefix, and nothing after; the revision goes on; all of that survives a kill of everybody.
#[tokio::test(flavor = "multi_thread")]
async fn a_restored_cluster_serves_a_prefix_with_all_that_was_acknowledged() {
    let mut cluster = Cluster::of(3).await;
    let before = Load::start("before/", &cluster.urls(), 4, 500);
    before.progress(150).await;
    let before = before.stop().await;
    let during = Load::start("during/", &cluster.urls(), 8, 500);
    during.progress(50).await;
    let follower = (cluster.leader().await + 1) % 3;
    let (file, header) = save(&cluster, follower, "backup").await;
    during.progress(50).await;
    let during = during.stop().await;
    let revision = i64::try_from(header.revision).unwrap();
    assert!(revision >= before.revision_max(), "what was acknowledged before is in it");
    assert!(revision < during.revision_max(), "writes went on");
    assert_eq!(header.cluster.get(), u128::from(cluster.cluster_id(0)));
    assert_eq!(header.members.len(), 3);

    cluster.kill_all().await;
    for member in 0..3 {
        let directory = cluster.dir().join(format!("restored-{member}"));
        cluster.set_flags(member, &[format!("--data-dir={}", directory.display())]);
        let said = restore(&cluster, member, &file).await;
        assert!(said.contains(&format!("{} keys at revision {revision}", header.keys)), "{said}");
    }
    for member in 0..3 {
        cluster.launch(member);
    }
    for member in 0..3 {
        cluster.ready(member).await;
    }
    let (before, during) = (until(&before, revision), until(&during, revision));
    assert_eq!(before.check(&cluster.client(0)).await.refused, 0, "all that was before is there");
    for member in 0..3 {
        during.check(&cluster.client(member)).await;
    }
    let client = cluster.client(follower);
    assert_eq!(client.write("after", "1").await.unwrap(), revision + 1);

    cluster.kill_all().await;
    for member in 0..3 {
        cluster.launch(member);
    }
    for member in 0..3 {
        cluster.ready(member).await;
    }
    assert_eq!(client.read("after").await.unwrap().as_deref(), Some("1"));
    during.check(&client).await;
}

/// A member of the old cluster, with its old directory and the very flags of the new one, is
/// refused by the restored members and hurts nobody; so is one that was not restored and begins
/// with an empty directory. Restored, it belongs to them.
#[tokio::test(flavor = "multi_thread")]
async fn members_that_were_not_restored_cannot_join() {
    let mut cluster = Cluster::of(3).await;
    for number in 0..20 {
        cluster.client(number % 3).write(&format!("k{number}"), "old").await.unwrap();
    }
    let (file, header) = save(&cluster, 0, "backup").await;
    // The old ones go on and are ahead of the backup.
    let late = cluster.client(1).write("late", "old").await.unwrap();
    assert_eq!(u64::try_from(late).unwrap(), header.revision + 1);
    cluster.kill_all().await;
    let directory = |member: usize, name: &str| {
        let path = cluster.dir().join(format!("{name}-{member}"));
        vec![format!("--data-dir={}", path.display())]
    };
    let restored = [0, 1, 2].map(|member| directory(member, "restored"));
    let empty = directory(2, "empty");
    for member in [0, 1] {
        cluster.set_flags(member, &restored[member]);
        restore(&cluster, member, &file).await;
        cluster.launch(member);
    }
    cluster.ready(0).await;
    cluster.ready(1).await;

    for flags in [&[][..], &empty] {
        cluster.set_flags(2, flags);
        let (said, heard) = (cluster.log(2).len(), cluster.log(0).len());
        cluster.launch(2);
        cluster.log(2).wait_for(said, "belongs to cluster").await;
        cluster.log(0).wait_for(heard, "belongs to cluster").await;
        for member in [0, 1] {
            let client = cluster.client(member);
            client.write("k0", "new").await.unwrap();
            assert_eq!(client.read("late").await.unwrap(), None, "what the old ones know later");
        }
        assert!(cluster.client(2).write("k0", "stray").await.is_err());
        cluster.kill(2).await;
    }
    cluster.set_flags(2, &restored[2]);
    restore(&cluster, 2, &file).await;
    cluster.restart(2).await;
    let client = cluster.client(2);
    assert_eq!(client.read("k0").await.unwrap().as_deref(), Some("new"));
    assert_eq!(client.read("k19").await.unwrap().as_deref(), Some("old"));
    eventually("it has what was written without it", || async {
        let local = client.read_local("k0").await?;
        let is_there = local.as_deref() == Some("new");
        is_there.then_some(()).ok_or_else(|| raft_api::tonic::Status::not_found("not yet"))
    })
    .await;
}

/// Backups that nobody takes are bounded: one more is refused in etcd's words, writes go on, and
/// when a client goes there is room again.
#[tokio::test(flavor = "multi_thread")]
async fn backups_under_way_are_bounded() {
    let cluster = Cluster::of(1).await;
    let client = cluster.client(0);
    // More than what connections and queues hold between the two ends.
    for number in 0..16 {
        client.write(&format!("large{number}"), &"x".repeat(1 << 20)).await.unwrap();
    }
    let mut begun = Vec::new();
    for _ in 0..BACKUPS_MAX {
        // Each with a connection of its own: those that are not read do not hold up others.
        begun.push(cluster.client(0).begin_backup().await.unwrap());
    }
    let refused = client.begin_backup().await.unwrap_err();
    assert_eq!(EtcdError::from_status(&refused), Some(EtcdError::TooManyRequests));
    client.write("k", "v").await.unwrap();
    drop(begun);
    let bytes = eventually("there is room again", || client.backup()).await;
    assert_eq!(verify(&bytes[..]).unwrap().0.keys, 17);
}

/// A damaged file, and a directory that is in use, are refused with a sentence, and the directory
/// stays as it is.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_restored_is_refused() {
    let mut cluster = Cluster::start(Settings { members: 1, ..Settings::default() }).await;
    cluster.client(0).write("k", "v").await.unwrap();
    let (file, _) = save(&cluster, 0, "backup").await;
    cluster.kill_all().await;
    let refused = async |arguments: Vec<String>| {
        let words = [vec!["restore".to_owned(), file.clone()], arguments].concat();
        let output = run(&words, &[]).await;
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    let said = refused(cluster.arguments(0)).await;
    assert!(said.contains("is not empty"), "{said}");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[300] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let other = cluster.dir().join("other");
    let flag = format!("--data-dir={}", other.display());
    let said = refused([cluster.arguments(0), vec![flag]].concat()).await;
    assert!(said.contains("damaged at byte"), "{said}");
    assert!(!other.exists());
    cluster.restart(0).await;
    assert_eq!(cluster.client(0).read("k").await.unwrap().as_deref(), Some("v"));
}
