//! Varints (LEB128, shortest form) and a reader that knows where it is.

use bytes::{Buf, BufMut, Bytes};

use super::CodecError;

/// Appends an unsigned integer, seven bits a byte, low bits first.
pub fn put_varint(out: &mut impl BufMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.put_u8(value.to_le_bytes()[0]);
}

/// Bytes that [`put_varint`] will write.
pub const fn varint_len(value: u64) -> usize {
    let bits = 64 - (value | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// Takes fields off the front of some bytes; slices are shared, not copied.
#[derive(Debug)]
pub struct Reader {
    rest: Bytes,
}

impl Reader {
    /// Begins at the front.
    pub const fn new(bytes: Bytes) -> Self {
        Self { rest: bytes }
    }

    /// Bytes not taken yet.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Takes one byte.
    pub fn byte(&mut self, field: &'static str) -> Result<u8, CodecError> {
        if self.rest.is_empty() {
            return Err(CodecError::Truncated(field));
        }
        Ok(self.rest.get_u8())
    }

    /// Takes a varint. Longer than the shortest form is an error: equal values, equal bytes.
    pub fn varint(&mut self, field: &'static str) -> Result<u64, CodecError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte(field)?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(CodecError::Invalid(field, bits));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                if byte == 0 && shift > 0 {
                    return Err(CodecError::Invalid(field, value));
                }
                return Ok(value);
            }
        }
        Err(CodecError::Invalid(field, value))
    }

    /// Takes four bytes, little-endian.
    pub fn u32(&mut self, field: &'static str) -> Result<u32, CodecError> {
        if self.rest.len() < 4 {
            return Err(CodecError::Truncated(field));
        }
        Ok(self.rest.get_u32_le())
    }

    /// Takes eight bytes, little-endian.
    pub fn u64(&mut self, field: &'static str) -> Result<u64, CodecError> {
        if self.rest.len() < 8 {
            return Err(CodecError::Truncated(field));
        }
        Ok(self.rest.get_u64_le())
    }

    /// Takes sixteen bytes, little-endian.
    pub fn u128(&mut self, field: &'static str) -> Result<u128, CodecError> {
        if self.rest.len() < 16 {
            return Err(CodecError::Truncated(field));
        }
        Ok(self.rest.get_u128_le())
    }

    /// Takes a varint length and as many bytes.
    pub fn bytes(&mut self, field: &'static str) -> Result<Bytes, CodecError> {
        let len = self.varint(field)?;
        self.slice(field, len)
    }

    /// Takes this many bytes.
    pub fn slice(&mut self, field: &'static str, len: u64) -> Result<Bytes, CodecError> {
        match usize::try_from(len) {
            Ok(len) if len <= self.rest.len() => Ok(self.rest.split_to(len)),
            Ok(_) | Err(_) => Err(CodecError::Truncated(field)),
        }
    }

    /// Takes a count of things of which each is at least `least` bytes long, so that a lying count
    /// cannot make anybody reserve more than the bytes at hand justify.
    pub fn count(&mut self, field: &'static str, least: usize) -> Result<usize, CodecError> {
        let count = self.varint(field)?;
        let fits = self.rest.len() / least.max(1);
        match usize::try_from(count) {
            Ok(count) if count <= fits => Ok(count),
            Ok(_) | Err(_) => Err(CodecError::Truncated(field)),
        }
    }

    /// Gives the rest away.
    pub fn into_rest(self) -> Bytes {
        self.rest
    }

    /// Checks that nothing is left.
    pub fn finish(self) -> Result<(), CodecError> {
        if self.rest.is_empty() { Ok(()) } else { Err(CodecError::Trailing(self.rest.len())) }
    }
}
