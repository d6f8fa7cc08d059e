//! The format of backups: what is written is read, version 1 stays what it is, and no damage goes
//! unnoticed.

#![expect(clippy::unwrap_used, reason = "a test says what it needs by panicking without it")]

use std::path::PathBuf;

use bytes::Bytes;
use raft_backup::{Backup, Encoder, Fault, HASH_BYTES, Header, Member, verify};
use raft_core::{ClusterId, EntryId, Index, SnapshotError, SnapshotSource, Term};

/// The header of the file that is drawn in the documentation.
fn header(state_bytes: u64) -> Header {
    Header {
        cluster: ClusterId::new(0xcdf8_1819_4e3a_8c32),
        applied: EntryId::new(Term::new(2), Index::new(9)),
        revision: 5,
        keys: 2,
        state_bytes,
        server_version: "0.1.0".to_owned(),
        members: vec![Member {
            id: 0x8e9e_05c5_2164_694d,
            name: "n1".to_owned(),
            is_learner: false,
            peer_urls: vec!["http://localhost:2380".to_owned()],
            client_urls: vec!["http://localhost:2379".to_owned()],
        }],
    }
}

/// A state in chunks of this length.
struct Cut(Bytes, usize);

impl SnapshotSource for Cut {
    fn next_chunk(&mut self) -> Result<Option<Bytes>, SnapshotError> {
        let len = self.1.min(self.0.len());
        Ok((len > 0).then(|| self.0.split_to(len)))
    }
}

fn write_cut(state: &[u8], len: usize) -> Vec<u8> {
    let header = header(state.len() as u64);
    let source = Cut(Bytes::copy_from_slice(state), len);
    let mut encoder = Encoder::new(&header, Box::new(source));
    let mut file = Vec::new();
    while let Some(piece) = encoder.next_piece().unwrap() {
        file.extend_from_slice(&piece);
        let expected = header.file_bytes() - HASH_BYTES as u64 - encoder.remaining();
        let is_hash = encoder.remaining() == 0 && file.len() as u64 == header.file_bytes();
        assert!(file.len() as u64 == expected || is_hash, "what remains is right at each piece");
    }
    file
}

fn write(state: &[u8]) -> Vec<u8> {
    write_cut(state, 1000)
}

fn read(file: &[u8]) -> Result<(Header, Vec<u8>), Fault> {
    let mut backup = Backup::open(file)?;
    let mut state = Vec::new();
    while let Some(chunk) = backup.next_chunk()? {
        state.extend_from_slice(&chunk);
    }
    Ok((backup.header().clone(), state))
}

const GOLDEN_STATE: &[u8] = b"what the state machine wrote";

/// What this code writes is what version 1 wrote, bit for bit, and that is read as it was meant.
#[test]
fn version_1_is_written_bit_for_bit() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/backup-v1");
    let written = write(GOLDEN_STATE);
    if std::env::var_os("GOLDEN_UPDATE").is_some() {
        std::fs::write(&path, &written).unwrap();
    }
    let golden = std::fs::read(path).unwrap();
    assert_eq!(written, golden);
    let (found, state) = read(&golden).unwrap();
    assert_eq!(found, header(GOLDEN_STATE.len() as u64));
    assert_eq!(state, GOLDEN_STATE);
}

/// States of no, some, one chunk's and more bytes come back, and a file is always as long as
/// etcd's clients want it: a multiple of 512 bytes and the hash.
#[test]
fn states_of_any_length_come_back() {
    let chunk = 1_usize << 20;
    for len in [0, 1, 300, 512, chunk - 1, chunk, chunk + 1, 2 * chunk + 77] {
        let state: Vec<u8> = (0..len).map(|at| u8::try_from(at * 7 % 251).unwrap()).collect();
        let file = write(&state);
        assert_eq!(file.len() % 512, HASH_BYTES, "{len}");
        assert_eq!(file.len() as u64, header(len as u64).file_bytes(), "{len}");
        assert!(read(&file).unwrap() == (header(len as u64), state.clone()), "{len}");
        assert!(write_cut(&state, 65_537) == file, "{len}: where the state was cut is not seen");
    }
}

/// Whatever byte of a file is changed, in whatever way, the change is noticed; only in the first
/// eight it may look like a file of somebody else.
#[test]
fn damage_of_any_byte_is_noticed() {
    let sound = write(GOLDEN_STATE);
    for at in 0..sound.len() {
        for mask in [0x01, 0x80, 0xff] {
            let mut file = sound.clone();
            file[at] ^= mask;
            let fault = verify(&file[..]).unwrap_err();
            let is_foreign = at < 8 && matches!(fault, Fault::Foreign { .. });
            let is_damaged = at >= 8 && matches!(fault, Fault::Damaged { .. });
            assert!(is_foreign || is_damaged, "byte {at}: {fault}");
        }
    }
}

/// A file that ends early, at any byte, is damaged where it ends; one that goes on is damaged where
/// it should have ended.
#[test]
fn a_file_that_is_cut_or_longer_is_noticed() {
    let sound = write(GOLDEN_STATE);
    for len in 0..sound.len() {
        let fault = verify(&sound[..len]).unwrap_err();
        let is_right = matches!(fault, Fault::Damaged { at, .. } if at == len as u64);
        assert!(is_right, "{len}: {fault}");
    }
    let longer = [&sound[..], b"\0"].concat();
    let fault = verify(&longer[..]).unwrap_err();
    assert_eq!(fault.to_string(), "damaged at byte 544: the file goes on after its end");
}

/// Damage inside of a large state is told with the chunk it lies in.
#[test]
fn damage_is_told_by_its_chunk() {
    let mut file = write(&vec![b'x'; (2 << 20) + 10]);
    file[(1 << 20) + 500] ^= 4;
    let text = verify(&file[..]).unwrap_err().to_string();
    assert!(text.starts_with("damaged at byte 1048689: chunk 2 has checksum "), "{text}");
}

/// A sound file of a later version, an empty one, another file and a database of etcd are told
/// apart.
#[test]
fn what_is_no_backup_of_ours_is_told_apart() {
    use sha2::{Digest as _, Sha256};

    let mut later = write(GOLDEN_STATE);
    later[8] = 2;
    let body = later.len() - HASH_BYTES;
    let hash = Sha256::digest(&later[..body]);
    later[body..].copy_from_slice(&hash);
    let said = |file: &[u8]| verify(file).unwrap_err().to_string();
    assert_eq!(said(&later), "a backup of version 2; this program knows version 1");
    later[100] ^= 1;
    assert!(said(&later).starts_with("damaged at byte 8: version 2, and the hash"));
    assert_eq!(said(b""), "damaged at byte 0: the file ends here, and more was to come");
    assert_eq!(said(b"key=value"), "no backup of raftd");
    let mut bolt = vec![0; 4096];
    bolt[16..20].copy_from_slice(&[0xed, 0xda, 0x0c, 0xed]);
    assert!(said(&bolt).starts_with("no backup of raftd but a database of etcd"));
}

/// A state that is shorter or longer than its header says is no backup: nobody gets the hash.
#[test]
fn a_state_of_another_length_ends_in_an_error() {
    for len in [9, 11] {
        let mut encoder = Encoder::new(&header(10), Box::new(Some(Bytes::from(vec![0; len]))));
        let mut pieces = 0;
        let ended = loop {
            match encoder.next_piece() {
                Ok(Some(piece)) => pieces += piece.len(),
                Ok(None) => panic!("{len}: it ended well"),
                Err(error) => break error,
            }
        };
        assert!(matches!(ended, SnapshotError::Malformed(_)), "{ended}");
        assert!(pieces < 512, "{len}: the hash was not handed out");
    }
}
