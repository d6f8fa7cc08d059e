//! What `raftd restore` accepts, refuses and leaves behind.

use bytes::Bytes;
use raft_api::etcdserverpb as pb;
use raft_backup::Encoder;
use raft_kv::{Command, PutRequest, RangeRequest};
use raft_runtime::{EntryId, GroupId, Index, Storage as _, Term};
use tempfile::TempDir;

use super::*;
use crate::machine::announcement;

/// A state machine with two keys and an announced member, at revision 4.
fn machine() -> Machine {
    let mut machine = Machine { store: SharedStore::new(), announced: Announced::default() };
    for (key, value) in [(&b"a"[..], &b"1"[..]), (b"b", b"2"), (b"a", b"3")] {
        let put = Command::Put(PutRequest { key, value, ..PutRequest::default() });
        machine.apply(EntryId::ZERO, &put.encode()).unwrap();
    }
    let old = pb::Member { id: 77, name: "old".to_owned(), ..pb::Member::default() };
    machine.apply(EntryId::ZERO, &announcement(&old)).unwrap();
    machine
}

fn header(revision: u64, state: &Bytes) -> Header {
    Header {
        cluster: ClusterId::new(5),
        applied: EntryId::new(Term::new(3), Index::new(40)),
        revision,
        keys: 2,
        state_bytes: state.len() as u64,
        server_version: "0.1.0".to_owned(),
        members: Vec::new(),
    }
}

/// A backup of a state.
fn backup_of(state: Bytes, revision: u64) -> Vec<u8> {
    let mut encoder = Encoder::new(&header(revision, &state), Box::new(Some(state)));
    let mut file = Vec::new();
    while let Some(piece) = encoder.next_piece().unwrap() {
        file.extend_from_slice(&piece);
    }
    file
}

fn sound() -> Vec<u8> {
    backup_of(machine().snapshot().unwrap().read_all().unwrap().into(), 4)
}

const CLUSTER: &str = "n1=http://h1:1,n2=http://h2:1";

fn words(directory: &TempDir, number: u64, more: &[&str]) -> Vec<String> {
    let path = |name: &str| directory.path().join(name).display().to_string();
    let mut words = vec![
        path("backup"),
        format!("--name=n{number}"),
        format!("--data-dir={}", path(&format!("n{number}"))),
        format!("--initial-cluster={CLUSTER}"),
        format!("--initial-advertise-peer-urls=http://h{number}:1"),
        "--initial-cluster-token=restored".to_owned(),
    ];
    words.extend(more.iter().map(ToString::to_string));
    words
}

/// Restores this file as member `number` into a directory beside it.
fn restore_as(
    directory: &TempDir,
    file: &[u8],
    number: u64,
    more: &[&str],
) -> Result<Restored, RestoreError> {
    fs::write(directory.path().join("backup"), file).unwrap();
    restore(&RestoreOptions::parse(&words(directory, number, more), &[]).unwrap())
}

/// The state machine that a member finds on its restored disk, and the id of its snapshot.
fn found_in(directory: &TempDir, number: u64) -> (Machine, raft_runtime::SnapshotMeta) {
    let path = directory.path().join(format!("n{number}"));
    let mut storage = FileStorage::open(path).unwrap();
    let meta = storage.restore(GroupId::ZERO).unwrap().snapshot.unwrap();
    let manager = std::sync::Arc::new(storage.snapshots().unwrap());
    let mut source = manager.open_source(GroupId::ZERO, meta.id).unwrap();
    let mut bytes: Bytes = source.read_all().unwrap().into();
    // Behind the prologue of the applier.
    let mut state = Some(bytes.split_off(2));
    let mut machine = Machine { store: SharedStore::new(), announced: Announced::default() };
    machine.restore(&mut state).unwrap();
    (machine, meta)
}

/// Members restored from one file are members of one new cluster and begin with one snapshot: the
/// keys with their revisions, and nobody of the old cluster.
#[test]
fn members_of_one_file_and_one_cluster_begin_alike() {
    let directory = tempfile::tempdir().unwrap();
    let [one, two] = [1, 2].map(|n| restore_as(&directory, &sound(), n, &[]).unwrap());
    assert_eq!((one.cluster, one.revision), (two.cluster, 4));
    assert_ne!(one.member, two.member);
    let (machine_of_one, meta) = found_in(&directory, 1);
    assert_eq!(found_in(&directory, 2).1, meta);
    assert_eq!(meta.membership.voters().len(), 2);
    assert_eq!(machine_of_one.store.digest(), machine().store.digest());
    assert_eq!(machine_of_one.announced.get(77), None);

    // A plain start takes the place that the disk gives.
    let options = RestoreOptions::parse(&words(&directory, 1, &[]), &[]).unwrap();
    let storage = FileStorage::open(&options.config.data_dir).unwrap();
    let seat = Seat::known(&options.config, storage.identity()).unwrap();
    let expected = Seat { member: one.member, cluster: one.cluster, is_founder: false };
    assert_eq!(seat, expected);
    assert_eq!(seat.cluster_id(), options.config.cluster_id(), "etcd's clients see etcd's id");
}

/// Another file, other flags or another bump make another cluster, and none is the one that the
/// flags alone would make.
#[test]
fn whatever_differs_makes_another_cluster() {
    let directory = tempfile::tempdir().unwrap();
    let mut clusters = Vec::new();
    let mut put = machine();
    let more = Command::Put(PutRequest { key: b"a", value: b"4", ..PutRequest::default() });
    put.apply(EntryId::ZERO, &more.encode()).unwrap();
    let other = backup_of(put.snapshot().unwrap().read_all().unwrap().into(), 5);
    for (file, flags) in [
        (sound(), vec![]),
        (other, vec![]),
        (sound(), vec!["--bump-revision=10"]),
        (sound(), vec!["--initial-cluster-token=another"]),
    ] {
        let restored = restore_as(&directory, &file, 1, &flags).unwrap();
        let flags = RestoreOptions::parse(&words(&directory, 1, &flags), &[]).unwrap().config;
        assert_ne!(restored.cluster.get(), u128::from(flags.cluster_id()));
        assert!(!clusters.contains(&restored.cluster), "{clusters:?}");
        clusters.push(restored.cluster);
        fs::remove_dir_all(directory.path().join("n1")).unwrap();
    }
}

/// With a bump the revision goes on from there, and what was before is compacted.
#[test]
fn the_revision_is_kept_or_bumped() {
    let directory = tempfile::tempdir().unwrap();
    let bumped = restore_as(&directory, &sound(), 1, &["--bump-revision", "1000"]).unwrap();
    assert_eq!(bumped.revision, 1004);
    let (machine, _) = found_in(&directory, 1);
    assert_eq!((machine.store.revision(), machine.store.compacted_revision()), (1004, 1004));
    let range = RangeRequest { key: b"a", ..RangeRequest::default() };
    assert_eq!(machine.store.range(&range).unwrap().kvs[0].mod_revision, 4);
    let most = i64::MAX.to_string();
    let error = restore_as(&directory, &sound(), 2, &["--bump-revision", &most]).unwrap_err();
    assert!(matches!(error, RestoreError::Revision), "{error}");
}

/// Damage of whatever byte, a header that does not fit to its state, a state of something else and
/// a file that is not there are refused, and no data directory is made.
#[test]
fn what_is_not_whole_is_refused_before_anything_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let refused = |file: &[u8]| {
        let error = restore_as(&directory, file, 1, &[]).unwrap_err();
        assert!(!directory.path().join("n1").exists(), "{error}");
        error.to_string()
    };
    let file = sound();
    for at in 0..file.len() {
        let mut damaged = file.clone();
        damaged[at] ^= 0x10;
        let said = refused(&damaged);
        assert!(said.contains("damaged at byte") || said.contains("no backup"), "{at}: {said}");
    }
    refused(&file[..file.len() - 1]);
    let state = machine().snapshot().unwrap().read_all().unwrap();
    let said = refused(&backup_of(state.into(), 9));
    assert!(
        said.contains("the header tells of 2 keys at revision 9, the state has 2 at"),
        "{said}"
    );
    let said = refused(&backup_of(Bytes::from_static(b"something else"), 4));
    assert!(said.contains("malformed snapshot"), "{said}");
    fs::remove_file(directory.path().join("backup")).unwrap();
    let options = RestoreOptions::parse(&words(&directory, 1, &[]), &[]).unwrap();
    assert!(matches!(restore(&options), Err(RestoreError::Open { .. })));
}

/// A directory with anything inside is left alone, be it restored a moment ago; what file systems
/// put there themselves does not count.
#[test]
fn a_directory_that_is_not_empty_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let own = directory.path().join("n1");
    fs::create_dir_all(own.join("lost+found")).unwrap();
    restore_as(&directory, &sound(), 1, &[]).unwrap();
    let said = restore_as(&directory, &sound(), 1, &[]).unwrap_err().to_string();
    assert!(said.contains("n1 is not empty, it has "), "{said}");
}

/// What has to be told and what cannot be is said all at once.
#[test]
fn missing_and_wrong_words_are_told_together() {
    let parse = |words: &[&str]| {
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        RestoreOptions::parse(&words, &[])
    };
    let violations = parse(&["--bump-revision=x"]).unwrap_err().violations;
    assert_eq!(violations.len(), 7, "{violations:?}");
    assert!(violations[0].starts_with("the file to restore is missing"));
    assert!(violations[6].starts_with("--bump-revision \"x\" is not a whole number"));
    let directory = tempfile::tempdir().unwrap();
    let existing = words(&directory, 1, &["--initial-cluster-state=existing"]);
    let violations = RestoreOptions::parse(&existing, &[]).unwrap_err().violations;
    assert!(violations[0].starts_with("--initial-cluster-state=existing joins"), "{violations:?}");
    let variables = [("ETCD_INITIAL_CLUSTER_TOKEN".to_owned(), "restored".to_owned())];
    let mut fewer = words(&directory, 1, &[]);
    fewer.retain(|word| !word.contains("token"));
    let options = RestoreOptions::parse(&fewer, &variables).unwrap();
    assert_eq!(options.config.initial_cluster_token, "restored", "a variable tells it as well");
}
