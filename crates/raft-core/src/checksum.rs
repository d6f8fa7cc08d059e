//! CRC-32C (Castagnoli) in safe Rust, sixteen bytes a step.
//!
//! A payload is sealed with it once, by the node that accepts the proposal, and the same checksum
//! travels through messages, log and apply. Read next: `entry.rs`.

use core::fmt;

/// The CRC-32C of some bytes.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Checksum(u32);

impl Checksum {
    /// A checksum read from a wire or a disk.
    pub const fn new(value: u32) -> Self {
        Self(value)
    }

    /// The 32 bits.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The checksum of these bytes.
    ///
    /// ```
    /// assert_eq!(raft_core::Checksum::of(b"123456789").get(), 0xe306_9283);
    /// ```
    pub fn of(bytes: &[u8]) -> Self {
        Self(0).extend(bytes)
    }

    /// The checksum of all bytes so far followed by these.
    #[must_use]
    pub fn extend(self, bytes: &[u8]) -> Self {
        let mut crc = !self.0;
        let mut chunks = bytes.chunks_exact(16);
        for chunk in &mut chunks {
            crc = sixteen(crc, chunk);
        }
        for &byte in chunks.remainder() {
            crc = (crc >> 8) ^ TABLES[0][usize::from(low(crc) ^ byte)];
        }
        Self(!crc)
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The least significant byte.
const fn low(word: u32) -> u8 {
    word.to_le_bytes()[0]
}

/// One step of slicing by sixteen: the tables are independent, so the lookups overlap.
fn sixteen(crc: u32, chunk: &[u8]) -> u32 {
    let head = crc.to_le_bytes();
    let mut next = 0;
    for (i, &byte) in chunk.iter().enumerate() {
        let byte = if i < 4 { byte ^ head[i] } else { byte };
        next ^= TABLES[15 - i][usize::from(byte)];
    }
    next
}

const POLYNOMIAL: u32 = 0x82f6_3b78;

static TABLES: [[u32; 256]; 16] = tables();

const fn tables() -> [[u32; 256]; 16] {
    let mut tables = [[0; 256]; 16];
    let mut byte = 0;
    while byte < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "byte is below 256")]
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut slice = 1;
    while slice < 16 {
        let mut byte = 0;
        while byte < 256 {
            let previous = tables[slice - 1][byte];
            tables[slice][byte] = (previous >> 8) ^ tables[0][low(previous) as usize];
            byte += 1;
        }
        slice += 1;
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answers of RFC 3720, appendix B.4.
    #[test]
    fn known_answers() {
        assert_eq!(Checksum::of(&[]).get(), 0);
        assert_eq!(Checksum::of(&[0; 32]).get(), 0x8a91_36aa);
        assert_eq!(Checksum::of(&[0xff; 32]).get(), 0x62a8_ab43);
    }

    /// However the bytes are cut, extending piece by piece gives the checksum of the whole, and a
    /// byte-at-a-time division gives the same.
    #[test]
    fn pieces_and_a_naive_division_agree() {
        let bytes: alloc::vec::Vec<u8> = (0..=255u8).cycle().take(300).collect();
        let naive = |bytes: &[u8]| {
            !bytes.iter().fold(!0u32, |crc, &b| {
                (0..8).fold(crc ^ u32::from(b), |c, _| (c >> 1) ^ (POLYNOMIAL * (c & 1)))
            })
        };
        for cut in 0..bytes.len() {
            let whole = Checksum::of(&bytes[..cut]).extend(&bytes[cut..]);
            assert_eq!(whole, Checksum::of(&bytes));
            assert_eq!(Checksum::of(&bytes[..cut]).get(), naive(&bytes[..cut]));
        }
    }
}
