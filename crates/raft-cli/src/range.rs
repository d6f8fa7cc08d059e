//! Ranges of keys: a key, a prefix, everything from a key on, or everything between two keys.
//!
//! Read next: `kv.rs`.

use raft_api::bytes::Bytes;

/// What a range request carries: the key and the end, in the language of the protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyRange {
    pub(crate) key: Bytes,
    pub(crate) range_end: Bytes,
}

/// How far a range goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent<'a> {
    /// The key alone.
    Key,
    /// Up to this key, exclusive.
    Until(&'a [u8]),
    /// All keys that begin with the key.
    Prefix,
    /// All keys from the key on.
    FromKey,
}

impl KeyRange {
    /// Puts key and extent into the language of the protocol.
    ///
    /// A prefix of nothing and everything from nothing on are all keys. The protocol has no empty
    /// keys; the smallest one is a zero byte.
    pub(crate) fn new(key: &[u8], extent: Extent<'_>) -> Self {
        let (key, range_end) = match extent {
            Extent::Key => (key, Bytes::new()),
            Extent::Until(end) => (key, Bytes::copy_from_slice(end)),
            Extent::Prefix | Extent::FromKey if key.is_empty() => {
                (NO_END, Bytes::from_static(NO_END))
            }
            Extent::Prefix => (key, prefix_end(key)),
            Extent::FromKey => (key, Bytes::from_static(NO_END)),
        };
        Self { key: Bytes::copy_from_slice(key), range_end }
    }
}

/// The smallest key above all keys with this prefix.
///
/// The last byte that can grow does, what follows it falls away. A prefix of 0xff bytes only has
/// nothing above it but the end of all keys.
fn prefix_end(prefix: &[u8]) -> Bytes {
    let Some(last) = prefix.iter().rposition(|&byte| byte < 0xff) else {
        return Bytes::from_static(NO_END);
    };
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    end.into()
}

/// As an end: no end. As a key: the smallest one.
const NO_END: &[u8] = b"\0";

#[cfg(test)]
mod tests {
    use super::*;

    fn check(key: &[u8], extent: Extent<'_>, expected: (&[u8], &[u8])) {
        let range = KeyRange::new(key, extent);
        assert_eq!((&range.key[..], &range.range_end[..]), expected);
    }

    #[test]
    fn a_key_alone_has_no_end() {
        check(b"a", Extent::Key, (b"a", b""));
    }

    #[test]
    fn an_end_is_passed_on() {
        check(b"a", Extent::Until(b"c"), (b"a", b"c"));
        check(b"a", Extent::Until(b"\0"), (b"a", b"\0"));
    }

    #[test]
    fn a_prefix_ends_before_the_first_key_that_is_greater_than_all_of_it() {
        check(b"ab", Extent::Prefix, (b"ab", b"ac"));
        check(b"a\xff\xff", Extent::Prefix, (b"a\xff\xff", b"b"));
        check(b"a\xfe\xff", Extent::Prefix, (b"a\xfe\xff", b"a\xff"));
        check(b"\0", Extent::Prefix, (b"\0", b"\x01"));
    }

    #[test]
    fn a_prefix_of_greatest_bytes_ends_with_all_keys() {
        check(b"\xff", Extent::Prefix, (b"\xff", b"\0"));
        check(b"\xff\xff", Extent::Prefix, (b"\xff\xff", b"\0"));
    }

    #[test]
    fn the_empty_prefix_and_everything_from_nothing_on_are_all_keys() {
        check(b"", Extent::Prefix, (b"\0", b"\0"));
        check(b"", Extent::FromKey, (b"\0", b"\0"));
        check(b"b", Extent::FromKey, (b"b", b"\0"));
    }

    #[test]
    fn a_prefix_end_separates_the_keys_with_the_prefix_from_all_others() {
        // Every key up to two bytes over a small alphabet, as prefix and as key.
        let letters = [0, 1, b'a', 0xfe, 0xff];
        let mut keys: Vec<Vec<u8>> = letters.iter().map(|&a| vec![a]).collect();
        keys.extend(letters.iter().flat_map(|&a| letters.iter().map(move |&b| vec![a, b])));
        for prefix in &keys {
            let end = prefix_end(prefix);
            for key in &keys {
                let is_inside = key >= prefix && (end == NO_END || key[..] < end[..]);
                assert_eq!(is_inside, key.starts_with(prefix), "{key:?} in {prefix:?}..{end:?}");
            }
        }
    }
}
