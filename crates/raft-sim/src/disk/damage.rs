//! Damage to what was durable: rot, unreadable sectors, writes that went elsewhere or nowhere.
//!
//! Only blocks are hit that a later sync of the same file stands behind, so that the loss can be
//! proven from the disk. The very last write of a file has no witness yet: a disk that lies about
//! it cannot be told from one that never had it (class X, see `atlas.rs`).

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use super::image::{Image, range_of};
use crate::choice::{Choices, Site};

/// What happens to a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DamageKind {
    /// A bit changes.
    BitRot,
    /// The block cannot be read any more.
    Unreadable,
    /// It holds what it held before: a write was lost although its sync returned.
    Stale,
    /// Another block's content was written here instead of there, which keeps its old one.
    Misdirected,
}

/// What was damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// How.
    pub kind: DamageKind,
    /// The file.
    pub path: PathBuf,
    /// Where, in bytes.
    pub offset: usize,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            DamageKind::BitRot => "a bit rots",
            DamageKind::Unreadable => "a sector cannot be read",
            DamageKind::Stale => "a block is as it was before",
            DamageKind::Misdirected => "a block was written to a wrong place",
        };
        write!(f, "{what}: {} at {}", self.path.display(), self.offset)
    }
}

/// Blocks that hold something and have a witness: another block that holds something and was
/// written by a later sync, one that has returned by now.
///
/// In a segment the witness must hold the header of a batch, and one is not enough: the last may be
/// of a write that was cut short, made durable by the start after it.
fn targets(image: &Image, now: u64) -> Vec<(usize, usize)> {
    let block = image.block();
    let mut targets = Vec::new();
    for (path, file) in image.names() {
        let number = image.find(path).expect("it was just listed");
        let is_segment = path.extension().is_some_and(|extension| extension == "wal");
        let bytes = |at: usize| &file.durable[range_of(at, block, file.durable.len())];
        let is_used = |at: &usize| bytes(*at).iter().any(|byte| *byte != 0);
        let used: Vec<usize> = (0..file.generation.len()).filter(is_used).collect();
        let settled = image.settled(number, now);
        let tells = |at: &&usize| {
            let header = bytes(**at).windows(BATCH.len()).any(|bytes| bytes == BATCH);
            file.generation[**at] <= settled && (header || !is_segment)
        };
        let witnesses: BTreeSet<u32> =
            used.iter().filter(tells).map(|at| file.generation[*at]).collect();
        let needed = if is_segment { 2 } else { 1 };
        let is_witnessed = |at: &&usize| {
            let generation = file.generation[**at];
            generation > 0 && witnesses.range(generation + 1..).count() >= needed
        };
        targets.extend(used.iter().filter(is_witnessed).map(|at| (number, *at)));
    }
    targets
}

/// How a batch begins.
const BATCH: &[u8] = b"RWB1";

/// Damages one of the blocks.
pub(super) fn strike(
    image: &mut Image,
    now: u64,
    kind: DamageKind,
    choices: &Choices,
) -> Option<Damage> {
    let targets = targets(image, now);
    if targets.is_empty() {
        return None;
    }
    let block = image.block();
    let (file, number) = *choices.pick(Site::Damage, &targets);
    let path = image.names().map(|(path, _)| path.clone()).find(|p| image.find(p) == Some(file))?;
    let mut offset = number * block;
    match kind {
        DamageKind::BitRot => {
            let range = range_of(number, block, image.file(file).durable.len());
            // Somewhere in what is used: most blocks end with zeros.
            let bytes = &image.file(file).durable[range];
            let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0) + 1;
            let at = choices.choose(Site::Damage, used as u64);
            offset += usize::try_from(at).expect("inside a block");
            let bit = 1 << choices.choose(Site::Damage, 8);
            let target = image.file_mut(file);
            target.durable[offset] ^= bit;
            target.view[offset] ^= bit;
        }
        DamageKind::Unreadable => image.file_mut(file).unreadable.push(number),
        DamageKind::Stale => go_back(image, (file, number)),
        DamageKind::Misdirected => {
            let others: Vec<_> =
                targets.iter().filter(|target| **target != (file, number)).collect();
            if others.is_empty() {
                return None;
            }
            let (from, source) = **choices.pick(Site::Damage, &others);
            let range = range_of(source, block, image.file(from).durable.len());
            let bytes = image.file(from).durable[range].to_vec();
            overwrite(image, (file, number), &bytes);
            go_back(image, (from, source));
        }
    }
    Some(Damage { kind, path, offset })
}

/// Damages the block at this place: its first byte rots, or all of it is gone.
pub(super) fn strike_at(image: &mut Image, kind: DamageKind, path: &Path, offset: usize) -> bool {
    let block = image.block();
    let is_inside = |file: &usize| {
        let file = image.file(*file);
        offset < file.durable.len().min(file.view.len())
    };
    let Some(file) = image.find(path).filter(is_inside) else { return false };
    let number = offset / block;
    match kind {
        DamageKind::BitRot => {
            let target = image.file_mut(file);
            target.durable[offset] ^= 1;
            target.view[offset] ^= 1;
        }
        DamageKind::Unreadable => image.file_mut(file).unreadable.push(number),
        DamageKind::Stale => overwrite(image, (file, number), &vec![0; block]),
        DamageKind::Misdirected => {
            let first = range_of(0, block, image.file(file).durable.len());
            let bytes = image.file(file).durable[first].to_vec();
            overwrite(image, (file, number), &bytes);
        }
    }
    true
}

/// The block holds what it held before its last write: an older version, or nothing.
fn go_back(image: &mut Image, (file, number): (usize, usize)) {
    let nothing = vec![0; image.block()];
    let before = image.file(file).previous.get(&number).cloned().unwrap_or(nothing);
    overwrite(image, (file, number), &before);
}

fn overwrite(image: &mut Image, (file, number): (usize, usize), bytes: &[u8]) {
    let block = image.block();
    let target = image.file_mut(file);
    let range = range_of(number, block, target.durable.len().min(target.view.len()));
    let bytes = &bytes[..range.len().min(bytes.len())];
    let range = range.start..range.start + bytes.len();
    target.durable[range.clone()].copy_from_slice(bytes);
    target.view[range].copy_from_slice(bytes);
}
