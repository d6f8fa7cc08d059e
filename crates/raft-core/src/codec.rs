//! Entries and messages to bytes and back: hand-written, versioned, pure.
//!
//! * Nothing is allocated before its length was compared with the bytes at hand.
//! * A decoder never panics, whatever it is given.
//! * A payload's body is the same on the wire and on the disk: its header (kind, origin, session)
//!   and then its bytes; the seal covers both.
//!
//! Read next: `codec/message.rs`.

mod membership;
mod message;
mod payload;
mod wire;

use core::fmt;

pub use self::membership::{decode_membership, encode_membership};
pub use self::message::{decode_message, encode_message};
pub(crate) use self::payload::payload_header;
pub use self::payload::{PAYLOAD_HEADER_MAX, decode_payload, encode_payload_header, payload_len};
pub use self::wire::{Reader, put_varint, varint_len};

/// The version of the message format this code writes and reads.
pub const MESSAGE_VERSION: u8 = 1;

/// Bytes that are not what they should be. Carries what was found and what was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CodecError {
    /// The bytes end inside this field.
    Truncated(&'static str),
    /// The field has a value it must not have.
    Invalid(&'static str, u64),
    /// Another version of the format.
    Version {
        /// The version found.
        found: u8,
        /// The version this code knows.
        known: u8,
    },
    /// Bytes are left over after the last field.
    Trailing(usize),
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated(field) => write!(f, "the bytes end inside {field}"),
            Self::Invalid(field, value) => write!(f, "{field} cannot be {value}"),
            Self::Version { found, known } => {
                write!(f, "format version {found}, this code knows version {known}")
            }
            Self::Trailing(bytes) => write!(f, "{bytes} bytes are left after the last field"),
        }
    }
}

impl core::error::Error for CodecError {}
