//! The alphabet of all formats of this crate: bytes, variable-length integers, length-prefixed
//! slices.
//!
//! * One form per value: a decoder accepts exactly what an encoder writes, so equal means equal
//!   bytes.
//! * A reader checks a length against the bytes that are left before anybody allocates for it.
//! * A format is written down once and run twice: with [`Length`] to count, with a buffer to write.
//!   That is how an encoder reserves exactly once without a second, hand-kept sum.
//!
//! Read next: `command.rs`, the first format made of it.

use bytes::{BufMut, BytesMut};

use crate::DecodeError;

/// Where an encoder writes.
pub(crate) trait Sink {
    /// Takes the next bytes.
    fn write(&mut self, bytes: &[u8]);

    /// Takes one byte.
    fn byte(&mut self, byte: u8) {
        self.write(&[byte]);
    }

    /// Takes an integer: seven bits per byte, lowest first.
    fn unsigned(&mut self, mut value: u64) {
        while value >= u64::from(CONTINUES) {
            self.byte(value.to_le_bytes()[0] | CONTINUES);
            value >>= 7;
        }
        self.byte(value.to_le_bytes()[0]);
    }

    /// Takes a signed integer, folded so that small negative numbers stay short.
    fn signed(&mut self, value: i64) {
        self.unsigned(((value << 1) ^ (value >> 63)).cast_unsigned());
    }

    /// Takes the length of a list or slice.
    fn length(&mut self, length: usize) {
        self.unsigned(u64::try_from(length).expect("a length fits in 64 bits"));
    }

    /// Takes a slice behind its length.
    fn slice(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.write(bytes);
    }
}

impl Sink for Vec<u8> {
    fn write(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    fn byte(&mut self, byte: u8) {
        self.push(byte);
    }
}

impl Sink for BytesMut {
    fn write(&mut self, bytes: &[u8]) {
        self.put_slice(bytes);
    }
}

/// A sink that only counts.
#[derive(Default)]
pub(crate) struct Length(pub(crate) usize);

impl Sink for Length {
    fn write(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }
}

/// Reads what a [`Sink`] took, from a slice.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    len: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, len: bytes.len() }
    }

    /// Where the next byte is, from the start.
    pub(crate) fn at(&self) -> usize {
        self.len - self.rest.len()
    }

    /// Refuses the bytes just read.
    pub(crate) fn malformed(&self, what: &'static str) -> DecodeError {
        DecodeError::Malformed { at: self.at(), what }
    }

    pub(crate) fn byte(&mut self) -> Result<u8, DecodeError> {
        let Some((first, rest)) = self.rest.split_first() else { return Err(self.truncated(1)) };
        self.rest = rest;
        Ok(*first)
    }

    /// A byte of flags, of which only `known` may be set.
    pub(crate) fn flags(&mut self, known: u8) -> Result<u8, DecodeError> {
        let flags = self.byte()?;
        if flags & !known != 0 {
            return Err(self.malformed("an unknown flag is set"));
        }
        Ok(flags)
    }

    pub(crate) fn unsigned(&mut self) -> Result<u64, DecodeError> {
        let mut varint = Varint::default();
        loop {
            let byte = self.byte()?;
            match varint.push(byte) {
                Ok(Some(value)) => return Ok(value),
                Ok(None) => {}
                Err(what) => return Err(self.malformed(what)),
            }
        }
    }

    pub(crate) fn signed(&mut self) -> Result<i64, DecodeError> {
        self.unsigned().map(unfold)
    }

    /// A signed integer that is only written when it is not zero.
    pub(crate) fn signed_if(&mut self, is_present: bool) -> Result<i64, DecodeError> {
        if !is_present {
            return Ok(0);
        }
        let value = self.signed()?;
        if value == 0 {
            return Err(self.malformed("a zero is written although it is implied"));
        }
        Ok(value)
    }

    pub(crate) fn slice(&mut self) -> Result<&'a [u8], DecodeError> {
        let needed = self.unsigned()?;
        let split = usize::try_from(needed).ok().and_then(|len| self.rest.split_at_checked(len));
        let Some((slice, rest)) = split else { return Err(self.truncated(needed)) };
        self.rest = rest;
        Ok(slice)
    }

    /// The length of a list whose items take at least `item_bytes_min` bytes each: what the bytes
    /// that are left cannot hold is refused before anybody allocates for it.
    pub(crate) fn list_len(&mut self, item_bytes_min: usize) -> Result<usize, DecodeError> {
        let needed = self.unsigned()?;
        let max = self.rest.len() / item_bytes_min;
        match usize::try_from(needed) {
            Ok(len) if len <= max => Ok(len),
            Ok(_) | Err(_) => Err(self.truncated(needed)),
        }
    }

    /// Ends the reading: nothing may be left.
    pub(crate) fn finish(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.malformed("bytes after the end")) }
    }

    fn truncated(&self, needed: u64) -> DecodeError {
        DecodeError::Truncated { at: self.at(), needed, left: self.rest.len() }
    }
}

/// Collects the bytes of one variable-length integer.
#[derive(Default)]
pub(crate) struct Varint {
    value: u64,
    bits: u32,
}

impl Varint {
    /// Takes the next byte and returns the integer if it was the last.
    pub(crate) fn push(&mut self, byte: u8) -> Result<Option<u64>, &'static str> {
        let low = u64::from(byte & !CONTINUES);
        if self.bits == 63 && byte > 1 {
            return Err("an integer is longer than 64 bits");
        }
        self.value |= low << self.bits;
        if byte & CONTINUES != 0 {
            self.bits += 7;
            return Ok(None);
        }
        if byte == 0 && self.bits != 0 {
            return Err("an integer is written longer than it needs");
        }
        Ok(Some(self.value))
    }
}

/// The inverse of the folding in [`Sink::signed`].
pub(crate) fn unfold(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}

/// What has a form in bytes.
pub(crate) trait Encode {
    /// Writes the form into `sink`.
    fn encode_to(&self, sink: &mut impl Sink);

    /// Writes the form into a buffer of exactly its size.
    fn encode_exactly(&self) -> Vec<u8> {
        let mut length = Length::default();
        self.encode_to(&mut length);
        let mut buffer = Vec::with_capacity(length.0);
        self.encode_to(&mut buffer);
        debug_assert_eq!(buffer.len(), length.0, "both runs of a format write the same");
        buffer
    }
}

const CONTINUES: u8 = 0x80;
