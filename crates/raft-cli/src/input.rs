//! Standard input: bounded, and wrong lines named by their number.
//!
//! Read next: `txn/grammar.rs`.

use core::error::Error;
use core::fmt;
use std::io::{self, Read};

use crate::txn::grammar::LineError;

/// Reads all of the input.
pub(crate) fn read_all(input: &mut dyn Read) -> Result<Vec<u8>, InputError> {
    let mut bytes = Vec::new();
    input.take(INPUT_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(InputError::Read)?;
    if bytes.len() as u64 > INPUT_BYTES_MAX { Err(InputError::TooLong) } else { Ok(bytes) }
}

/// Why standard input cannot be used.
#[derive(Debug)]
pub(crate) enum InputError {
    /// The system could not read it.
    Read(io::Error),
    /// It is longer than [`INPUT_BYTES_MAX`].
    TooLong,
    /// A line is wrong. Lines count from 1.
    Line {
        /// Its number.
        number: u64,
        /// What is wrong with it.
        error: LineError,
    },
}

impl fmt::Display for InputError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => error.fmt(formatter),
            Self::TooLong => write!(formatter, "longer than {INPUT_BYTES_MAX} bytes"),
            Self::Line { number, error } => write!(formatter, "line {number}: {error}"),
        }
    }
}

impl Error for InputError {}

/// At most this many bytes are read: far more than a server takes in one request, little enough to
/// hold in memory when somebody pipes the wrong file.
pub(crate) const INPUT_BYTES_MAX: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_is_read_to_its_end_byte_by_byte() {
        assert_eq!(read_all(&mut &b"a\n\xff\0"[..]).unwrap(), b"a\n\xff\0");
    }

    #[test]
    fn endless_input_is_refused_and_not_collected() {
        let error = read_all(&mut io::repeat(b'x')).unwrap_err();
        assert_eq!(error.to_string(), "longer than 67108864 bytes");
    }
}
