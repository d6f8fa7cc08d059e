//! `SharedBytes`: the immutable bytes of a key or a value, shared by counting.
//!
//! * A clone is one counter, never a copy: the index, the history, a frozen snapshot and an answer
//!   to a reader hold the same bytes.
//! * It owns exactly its bytes. Keys and values are copied out of a command once, so no buffer of
//!   the log or of the network stays in memory because of a small key inside.
//! * Sixteen bytes wide, and the empty value needs no memory: a store of millions of keys feels
//!   both.
//!
//! Read next: `mvcc/version.rs`, where values live.

use core::fmt;
use core::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;

/// The immutable bytes of a key or a value; a clone shares them.
///
/// # Examples
///
/// ```
/// use raft_kv::SharedBytes;
///
/// let key = SharedBytes::from("a key");
/// assert_eq!(&key[..], b"a key");
/// assert_eq!(bytes::Bytes::from(key), "a key");
/// ```
// Never `Some` of nothing: one value, one form, so that the derived comparisons hold.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SharedBytes(Option<Arc<[u8]>>);

impl SharedBytes {
    /// Returns the bytes.
    pub fn as_slice(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}

impl Deref for SharedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl AsRef<[u8]> for SharedBytes {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl From<&[u8]> for SharedBytes {
    fn from(bytes: &[u8]) -> Self {
        Self((!bytes.is_empty()).then(|| Arc::from(bytes)))
    }
}

impl From<&str> for SharedBytes {
    fn from(text: &str) -> Self {
        Self::from(text.as_bytes())
    }
}

impl From<SharedBytes> for Bytes {
    /// Hands the bytes over without copying them.
    fn from(shared: SharedBytes) -> Self {
        match shared.0 {
            Some(bytes) => Self::from_owner(bytes),
            None => Self::new(),
        }
    }
}

impl PartialEq<[u8]> for SharedBytes {
    fn eq(&self, other: &[u8]) -> bool {
        self.as_slice() == other
    }
}

impl PartialEq<&[u8]> for SharedBytes {
    fn eq(&self, other: &&[u8]) -> bool {
        self.as_slice() == *other
    }
}

impl PartialEq<&str> for SharedBytes {
    fn eq(&self, other: &&str) -> bool {
        self.as_slice() == other.as_bytes()
    }
}

impl fmt::Debug for SharedBytes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "\"{}\"", self.as_slice().escape_ascii())
    }
}
