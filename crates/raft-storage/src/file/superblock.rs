//! `SUPER`: whose disk this is, and how far the WAL surely went.
//!
//! * Four copies, written two by two with a sync between, so that two are whole at any time. After
//!   a torn update these may be the only ones, and the next update leaves them for last.
//! * Its facts only ever grow; a reader takes the highest valid copy.
//! * Never needed to find the log, only to notice that a part of it is missing.
//!
//! Read next: `checkpoint.rs`.

use std::io::{self, IoSlice};
use std::path::Path;

use bytes::BufMut;
use crc_fast::crc32_iscsi;
use raft_core::{Identity, mark, mutant};

use super::record::{u32_at, u64_at, u128_at};
use super::segment::{FORMAT_VERSION, check_version, read_exact, take_identity, write_all};
use crate::disk::DiskFile;
use crate::{Corruption, StorageError, SyncMode};

const MAGIC: [u8; 8] = *b"RAFTSUP\n";

/// Distance of the copies. Each copy names it, so that a later version may need more room.
const STRIDE: u64 = 4096;

const COPIES: u64 = 4;

/// Bytes of a copy before its checksum: the fixed part and one stream.
const FACTS_BYTES: usize = 112;

/// Receipts of the newest life did not mean that the disk had everything; whoever does not know
/// this must not open the disk.
const FEATURE_UNSYNCED: u32 = 1;

/// The node's facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Super {
    pub(super) identity: Identity,
    /// Numbers the updates; the highest valid copy counts.
    pub(super) update: u64,
    /// The boot in which the newest segment was begun; zero if unknown.
    pub(super) boot_id: u128,
    /// Whether the storage was closed, not cut off.
    pub(super) clean: bool,
    /// What receipts mean since the newest segment was begun.
    pub(super) sync_mode: SyncMode,
    /// The newest segment that surely exists; zero before the first.
    pub(super) newest_seq: u64,
    /// Batches up to this number are durable.
    pub(super) durable_lsn: u64,
    /// Which half of the copies an update writes first. Not on the disk.
    pub(super) first: Half,
}

/// Half of the copies: they are written together, and one half is whole at any time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Half {
    Lower,
    Upper,
}

impl Half {
    const fn copies(self) -> [u64; 2] {
        match self {
            Self::Lower => [0, 1],
            Self::Upper => [2, 3],
        }
    }

    const fn other(self) -> Self {
        match self {
            Self::Lower => Self::Upper,
            Self::Upper => Self::Lower,
        }
    }
}

const MODE_MASK: u8 = 6;
const MODE_NORMAL: u8 = 2;
const MODE_NONE: u8 = 4;

/// The mode among the flags of a copy.
const fn mode_bits(mode: SyncMode) -> u8 {
    match mode {
        SyncMode::Full => 0,
        SyncMode::Normal => MODE_NORMAL,
        SyncMode::None => MODE_NONE,
    }
}

impl Super {
    pub(super) const fn blank(identity: Identity) -> Self {
        Self {
            identity,
            update: 1,
            boot_id: 0,
            clean: true,
            sync_mode: SyncMode::Full,
            newest_seq: 0,
            durable_lsn: 0,
            first: Half::Lower,
        }
    }

    /// Whether what was acknowledged last may be gone, because the machine went down meanwhile.
    pub(super) const fn may_have_lost(&self, boot_id: u128) -> bool {
        let is_this_boot = boot_id != 0 && boot_id == self.boot_id;
        !matches!(self.sync_mode, SyncMode::Full) && !self.clean && !is_this_boot
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FACTS_BYTES + 4);
        out.put_slice(&MAGIC);
        out.put_u16_le(FORMAT_VERSION);
        out.put_u16_le(FORMAT_VERSION);
        let is_synced = self.sync_mode == SyncMode::Full;
        out.put_u32_le(if is_synced { 0 } else { FEATURE_UNSYNCED });
        out.put_u128_le(self.identity.cluster.get());
        out.put_u128_le(self.identity.peer.incarnation.get());
        out.put_u64_le(self.identity.peer.node.get());
        out.put_u64_le(self.update);
        out.put_u128_le(self.boot_id);
        out.put_u8(u8::from(self.clean) | mode_bits(self.sync_mode));
        out.put_u8(STRIDE.trailing_zeros().to_le_bytes()[0]);
        out.put_u16_le(1); // streams
        out.put_u32_le(0); // groups
        out.put_u64_le(self.newest_seq);
        out.put_u64_le(self.durable_lsn);
        out.put_u64_le(0); // no hard states here, so they include no batch
        debug_assert_eq!(out.len(), FACTS_BYTES, "the drawing in docs/WAL_FORMAT.md");
        let crc = crc32_iscsi(&out);
        out.put_u32_le(crc);
        out
    }

    fn decode(copy: &[u8]) -> Option<Self> {
        let valid = copy.starts_with(&MAGIC)
            && crc32_iscsi(&copy[..FACTS_BYTES]) == u32_at(copy, FACTS_BYTES);
        if !valid {
            return None;
        }
        Some(Self {
            identity: take_identity(copy, 16)?,
            update: u64_at(copy, 56),
            boot_id: u128_at(copy, 64),
            clean: copy[80] & 1 == 1,
            sync_mode: match copy[80] & MODE_MASK {
                0 => SyncMode::Full,
                MODE_NORMAL => SyncMode::Normal,
                _ => SyncMode::None,
            },
            newest_seq: u64_at(copy, 88),
            durable_lsn: u64_at(copy, 96),
            first: Half::Lower,
        })
    }

    /// The highest valid copy.
    pub(super) fn read(file: &dyn DiskFile, path: &Path) -> Result<Self, StorageError> {
        let io = |error| StorageError::io("read", path, error);
        let mut best: Option<Self> = None;
        let mut later_version = None;
        let mut copy = vec![0; FACTS_BYTES + 4];
        for number in 0..COPIES {
            read_exact(file, &mut copy, number * STRIDE).map_err(io)?;
            let Some(found) = Self::decode(&copy) else {
                mark!("super-copy-invalid");
                // A later version may keep its checksum elsewhere. If a copy of ours is whole, this
                // one was torn by an update, and what it says is garbage.
                if copy.starts_with(&MAGIC) {
                    later_version = later_version
                        .or_else(|| check_version(path, &copy, FEATURE_UNSYNCED).err());
                }
                continue;
            };
            check_version(path, &copy, FEATURE_UNSYNCED)?;
            if best.is_none_or(|best| found.update > best.update) {
                // The other half may be torn: it is written first.
                let is_lower = Half::Lower.copies().contains(&number);
                let first = if is_lower { Half::Upper } else { Half::Lower };
                best = Some(Self { first, ..found });
            }
        }
        if best.is_none() {
            later_version.map_or(Ok(()), Err)?;
        }
        best.ok_or_else(|| {
            StorageError::Corrupt(Box::new(Corruption {
                path: path.into(),
                offset: 0,
                what: "all four copies",
                expected: "one with a matching checksum".into(),
                found: "none".into(),
                proof: "two copies are whole at any time",
                lost: Vec::new(),
            }))
        })
    }

    /// Writes all copies, two by two, and those last that may be the only good ones.
    pub(super) fn write(&self, file: &mut dyn DiskFile) -> io::Result<()> {
        let copy = self.encode();
        for number in 0..if mutant!("D4") { COPIES } else { 0 } {
            write_all(file, &mut [IoSlice::new(&vec![0; copy.len()])], number * STRIDE)?;
        }
        let last = self.first.other();
        for half in [self.first, last] {
            for number in half.copies() {
                write_all(file, &mut [IoSlice::new(&copy)], number * STRIDE)?;
            }
            if !mutant!("D4") || half == last {
                file.sync_data()?;
            }
        }
        Ok(())
    }
}
