//! `Digest`: a 64-bit hash of the store's state, to notice that two nodes, or a snapshot and its
//! origin, differ.
//!
//! * It is fed with fields, not with bytes of a format, so it is the same whatever the chunks were.
//! * Each step is a bijection of the state for a given word: a difference confined to one word of
//!   eight bytes is always noticed, any other with a chance of 2^-64 to be missed.
//! * It guards against faults, not against an adversary.
//!
//! Read next: `snapshot.rs`, which feeds it.

/// A running hash.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Digest(u64);

impl Default for Digest {
    fn default() -> Self {
        Self(SEED)
    }
}

impl Digest {
    pub(crate) fn number(&mut self, number: i64) {
        self.word(number.cast_unsigned());
    }

    pub(crate) fn slice(&mut self, bytes: &[u8]) {
        // The length first, so that no two lists of slices feed the same words.
        self.word(u64::try_from(bytes.len()).expect("a length fits in 64 bits"));
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.word(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let mut word = [0; 8];
            word[..rest.len()].copy_from_slice(rest);
            self.word(u64::from_le_bytes(word));
        }
    }

    /// The hash; the last words fed spread over all bits.
    pub(crate) fn finish(self) -> u64 {
        let mut hash = self.0;
        for multiplier in [0xff51_afd7_ed55_8ccd, 0xc4ce_b9fe_1a85_ec53] {
            hash = (hash ^ (hash >> 33)).wrapping_mul(multiplier);
        }
        hash ^ (hash >> 33)
    }

    fn word(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(MULTIPLIER).rotate_left(29);
    }
}

/// Any odd number with well-mixed bits does; this is 2^64 divided by the golden ratio.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
/// Not zero, so that leading zeroes count.
const SEED: u64 = 0x243f_6a88_85a3_08d3;

#[cfg(test)]
mod tests {
    use super::*;

    fn digest_of(slices: &[&[u8]]) -> u64 {
        let mut digest = Digest::default();
        for slice in slices {
            digest.slice(slice);
        }
        digest.finish()
    }

    #[test]
    fn where_one_slice_ends_and_the_next_begins_counts() {
        let different: [&[&[u8]]; 8] = [
            &[],
            &[b""],
            &[b"", b""],
            &[b"a"],
            &[b"a", b""],
            &[b"", b"a"],
            &[b"a\0"],
            &[b"a\0\0\0\0\0\0\0"],
        ];
        let digests: std::collections::BTreeSet<_> = different.into_iter().map(digest_of).collect();
        assert_eq!(digests.len(), different.len());
    }

    #[test]
    fn every_bit_of_a_long_slice_counts() {
        let bytes: Vec<u8> = (0..=255).collect();
        let expected = digest_of(&[&bytes]);
        for bit in 0..bytes.len() * 8 {
            let mut other = bytes.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(digest_of(&[&other]), expected, "bit {bit}");
        }
    }
}
