//! The language of `txn`: three sections of lines, separated by empty lines.
//!
//! Everything that etcd's command line reads is read here and means the same. Beyond it: the last
//! section may end with the input, blanks around a relation are optional, numbers need no quotes.
//! A wrong line is named by its number, and nothing is sent. Read next: `txn.rs` (its help).

use core::error::Error;
use core::fmt;
use std::ffi::OsString;
use std::io::{BufRead, Read as _, Take};
use std::os::unix::ffi::OsStringExt as _;

use clap::{Parser, Subcommand};
use raft_api::bytes::Bytes;
use raft_api::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use raft_api::etcdserverpb::request_op::Request;
use raft_api::etcdserverpb::{Compare, RequestOp, TxnRequest};

use crate::input::{INPUT_BYTES_MAX, InputError};
use crate::kv::{DelArgs, PutArgs, RangeArgs, parse_lease};

/// A part of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    /// What must hold.
    Compares,
    /// What to do if it does.
    Success,
    /// What to do otherwise.
    Failure,
}

impl fmt::Display for Section {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Compares => "compares",
            Self::Success => "success requests (get, put, del)",
            Self::Failure => "failure requests (get, put, del)",
        })
    }
}

/// How the last section ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// With an empty line; what follows is not looked at.
    Line,
    /// With the input. Text after it would be a fourth section, and is an error.
    Input,
}

/// Reads a transaction, calling `prompt` before each section.
pub(crate) fn read(
    input: &mut dyn BufRead,
    ending: Ending,
    mut prompt: impl FnMut(Section),
) -> Result<TxnRequest, InputError> {
    let mut lines = Lines { input: input.take(INPUT_BYTES_MAX), number: 0 };
    let mut request = TxnRequest::default();
    prompt(Section::Compares);
    while let Some(line) = lines.next_of_section()? {
        request.compare.push(compare(&line).map_err(|error| lines.wrong(error))?);
    }
    for (section, list) in
        [(Section::Success, &mut request.success), (Section::Failure, &mut request.failure)]
    {
        prompt(section);
        while let Some(line) = lines.next_of_section()? {
            list.push(operation(&line).map_err(|error| lines.wrong(error))?);
        }
    }
    if ending == Ending::Input {
        lines.expect_end()?;
    }
    Ok(request)
}

/// The lines of the input, counted.
struct Lines<R> {
    input: R,
    number: u64,
}

impl Lines<Take<&mut dyn BufRead>> {
    /// The next line of the present section; none at its end.
    fn next_of_section(&mut self) -> Result<Option<Vec<u8>>, InputError> {
        let line = self.next()?;
        Ok(line.filter(|line| !line.trim_ascii().is_empty()))
    }

    fn next(&mut self) -> Result<Option<Vec<u8>>, InputError> {
        let mut line = Vec::new();
        let len = self.input.read_until(b'\n', &mut line).map_err(InputError::Read)?;
        // The limit cuts the input where no line ends.
        if self.input.limit() == 0 {
            return Err(InputError::TooLong);
        }
        self.number += 1;
        Ok((len > 0).then_some(line))
    }

    fn expect_end(&mut self) -> Result<(), InputError> {
        while let Some(line) = self.next()? {
            if !line.trim_ascii().is_empty() {
                return Err(self.wrong(LineError::AfterEnd));
            }
        }
        Ok(())
    }

    fn wrong(&self, error: LineError) -> InputError {
        InputError::Line { number: self.number, error }
    }
}

/// Parses `target("key") relation "value"`.
fn compare(line: &[u8]) -> Result<Compare, LineError> {
    let mut words = Words(line);
    let target = match words.bare(|byte| byte == b'(') {
        b"ver" | b"version" => CompareTarget::Version,
        b"c" | b"create" => CompareTarget::Create,
        b"m" | b"mod" => CompareTarget::Mod,
        b"val" | b"value" => CompareTarget::Value,
        b"lease" => CompareTarget::Lease,
        other => return Err(LineError::Target(lossy(other))),
    };
    words.symbol(b'(')?;
    let key = words.next(|byte| byte == b')')?.ok_or(LineError::NoKey)?;
    words.symbol(b')')?;
    let result = match words.bare(|byte| !b"=!<>".contains(&byte)) {
        b"=" => CompareResult::Equal,
        b"!=" => CompareResult::NotEqual,
        b">" => CompareResult::Greater,
        b"<" => CompareResult::Less,
        other => return Err(LineError::Relation(lossy(other))),
    };
    let value = words.next(|_| false)?.ok_or(LineError::NoValue)?;
    if let Some(extra) = words.next(|_| false)? {
        return Err(LineError::Extra(lossy(&extra)));
    }
    let value = match target {
        CompareTarget::Version => TargetUnion::Version(decimal(&value)?),
        CompareTarget::Create => TargetUnion::CreateRevision(decimal(&value)?),
        CompareTarget::Mod => TargetUnion::ModRevision(decimal(&value)?),
        CompareTarget::Value => TargetUnion::Value(value.into()),
        CompareTarget::Lease => TargetUnion::Lease(hexadecimal(&value)?),
    };
    Ok(Compare {
        result: result.into(),
        target: target.into(),
        key: key.into(),
        range_end: Bytes::new(),
        target_union: Some(value),
    })
}

fn decimal(text: &[u8]) -> Result<i64, LineError> {
    let number = str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    number.ok_or_else(|| LineError::Decimal(lossy(text)))
}

fn hexadecimal(text: &[u8]) -> Result<i64, LineError> {
    let number = str::from_utf8(text).ok().and_then(|text| parse_lease(text).ok());
    number.ok_or_else(|| LineError::Hexadecimal(lossy(text)))
}

/// Parses an operation with the parser of the command of its name.
fn operation(line: &[u8]) -> Result<RequestOp, LineError> {
    let mut words = Words(line);
    let mut arguments = Vec::new();
    while let Some(word) = words.next(|_| false)? {
        arguments.push(OsString::from_vec(word));
    }
    let request = match OperationLine::try_parse_from(arguments) {
        Ok(OperationLine { operation }) => match operation {
            Operation::Put(args) => Request::RequestPut(args.request().ok_or(LineError::NoValue)?),
            Operation::Get(args) => Request::RequestRange(args.request()),
            Operation::Del(args) => Request::RequestDeleteRange(args.request()),
        },
        Err(error) => return Err(LineError::operation(&error)),
    };
    Ok(RequestOp { request: Some(request) })
}

/// An operation as a command line without the name of a program.
#[derive(Debug, Parser)]
#[command(no_binary_name = true, disable_help_flag = true, disable_help_subcommand = true)]
struct OperationLine {
    #[command(subcommand)]
    operation: Operation,
}

#[derive(Debug, Subcommand)]
#[command(disable_help_flag = true)]
enum Operation {
    #[command(disable_help_flag = true)]
    Put(PutArgs),
    #[command(disable_help_flag = true)]
    Get(RangeArgs),
    #[command(disable_help_flag = true)]
    Del(DelArgs),
}

/// What is left of a line.
struct Words<'a>(&'a [u8]);

impl<'a> Words<'a> {
    /// The next word, of which any part may be quoted; none at the end of the line. A bare part
    /// also ends where `is_end` says.
    fn next(&mut self, is_end: fn(u8) -> bool) -> Result<Option<Vec<u8>>, LineError> {
        self.0 = self.0.trim_ascii_start();
        let mut word = None;
        while let Some((&first, rest)) = self.0.split_first() {
            let word: &mut Vec<u8> = match first {
                _ if first.is_ascii_whitespace() || is_end(first) => break,
                _ => word.get_or_insert_default(),
            };
            self.0 = rest;
            match first {
                b'\'' => self.literal(word)?,
                b'"' => self.quoted(word)?,
                _ => word.push(first),
            }
        }
        Ok(word)
    }

    /// The bytes up to a blank or to where `is_end` says.
    fn bare(&mut self, is_end: fn(u8) -> bool) -> &'a [u8] {
        self.0 = self.0.trim_ascii_start();
        let ends = |&byte: &u8| byte.is_ascii_whitespace() || is_end(byte);
        let end = self.0.iter().position(ends).unwrap_or(self.0.len());
        let (word, rest) = self.0.split_at(end);
        self.0 = rest;
        word
    }

    fn symbol(&mut self, symbol: u8) -> Result<(), LineError> {
        self.0 = self.0.trim_ascii_start();
        let rest = self.0.strip_prefix(&[symbol]);
        self.0 = rest.ok_or_else(|| LineError::Symbol(char::from(symbol)))?;
        Ok(())
    }

    fn literal(&mut self, word: &mut Vec<u8>) -> Result<(), LineError> {
        let end = self.0.iter().position(|&byte| byte == b'\'').ok_or(LineError::Unclosed('\''))?;
        word.extend_from_slice(&self.0[..end]);
        self.0 = &self.0[end + 1..];
        Ok(())
    }

    fn quoted(&mut self, word: &mut Vec<u8>) -> Result<(), LineError> {
        loop {
            let (&first, rest) = self.0.split_first().ok_or(LineError::Unclosed('"'))?;
            self.0 = rest;
            match first {
                b'"' => return Ok(()),
                b'\\' => self.escape(word)?,
                _ => word.push(first),
            }
        }
    }

    /// What follows a backslash, in the language of Go.
    fn escape(&mut self, word: &mut Vec<u8>) -> Result<(), LineError> {
        let (&first, rest) = self.0.split_first().ok_or(LineError::Unclosed('"'))?;
        let (len, radix) = match first {
            b'x' => (2, 16),
            b'u' => (4, 16),
            b'U' => (8, 16),
            // Octal digits have no letter before them.
            b'0'..=b'7' => (3, 8),
            _ => {
                word.push(simple_escape(first).ok_or_else(|| wrong_escape(&[first]))?);
                self.0 = rest;
                return Ok(());
            }
        };
        let digits = if radix == 8 { self.0 } else { rest };
        let digits = digits.get(..len).unwrap_or(digits);
        let is_complete =
            digits.len() == len && digits.iter().all(|&digit| char::from(digit).is_digit(radix));
        let text = if radix == 8 { digits } else { &self.0[..=digits.len()] };
        let code = str::from_utf8(digits).ok().filter(|_| is_complete);
        let code = code.and_then(|digits| u32::from_str_radix(digits, radix).ok());
        let code = code.ok_or_else(|| wrong_escape(text))?;
        if len < 4 {
            word.push(u8::try_from(code).map_err(|_| wrong_escape(text))?);
        } else {
            let letter = char::from_u32(code).ok_or_else(|| wrong_escape(text))?;
            word.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
        }
        self.0 = &self.0[text.len()..];
        Ok(())
    }
}

fn simple_escape(letter: u8) -> Option<u8> {
    Some(match letter {
        b'a' => 0x07,
        b'b' => 0x08,
        b'f' => 0x0c,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 0x0b,
        b'\\' | b'"' | b'\'' => letter,
        _ => return None,
    })
}

fn wrong_escape(text: &[u8]) -> LineError {
    LineError::Escape(lossy(text))
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LineError {
    /// A quote opens and does not close.
    Unclosed(char),
    /// A backslash is followed by something unknown or incomplete.
    Escape(String),
    /// A compare begins with something unknown.
    Target(String),
    /// A compare lacks a symbol.
    Symbol(char),
    /// A compare has no key.
    NoKey,
    /// A compare has no relation, or an unknown one.
    Relation(String),
    /// A compare or a put has no value.
    NoValue,
    /// A compare goes on after its value.
    Extra(String),
    /// A number is none.
    Decimal(String),
    /// A lease is none.
    Hexadecimal(String),
    /// An operation is wrong, with the reason.
    Operation(String),
    /// There is a fourth section.
    AfterEnd,
}

impl LineError {
    /// The first line of what the parser of commands says; the rest is help for command lines.
    fn operation(error: &clap::Error) -> Self {
        let text = error.to_string();
        let first = text.lines().next().unwrap_or_default();
        Self::Operation(first.strip_prefix("error: ").unwrap_or(first).to_owned())
    }
}

impl fmt::Display for LineError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unclosed(quote) => write!(formatter, "no closing {quote}"),
            Self::Escape(text) => write!(formatter, "\\{text} is no escape"),
            Self::Target(text) => write!(
                formatter,
                "`{text}` cannot be compared, expected version, create, mod, value or lease"
            ),
            Self::Symbol(symbol) => {
                write!(formatter, "expected `{symbol}`, as in mod(\"key\") > \"0\"")
            }
            Self::NoKey => formatter.write_str("no key, expected such as mod(\"key\") > \"0\""),
            Self::Relation(text) => {
                write!(formatter, "`{text}` is no relation, expected =, !=, < or >")
            }
            Self::NoValue => formatter.write_str("no value"),
            Self::Extra(text) => write!(formatter, "unexpected `{text}` after the value"),
            Self::Decimal(text) => write!(formatter, "`{text}` is no decimal 64-bit number"),
            Self::Hexadecimal(text) => write!(formatter, "`{text}` is no hexadecimal lease id"),
            Self::Operation(text) => formatter.write_str(text),
            Self::AfterEnd => {
                formatter.write_str("text after the third section, sections end at empty lines")
            }
        }
    }
}

impl Error for LineError {}

#[cfg(test)]
mod tests;
