//! Quoting as Go does it, for output that stays on its line.
//!
//! Read next: `txn/grammar.rs`, which reads the same language.

use core::fmt::Write as _;

/// The bytes in double quotes.
pub(crate) fn quoted(bytes: &[u8]) -> String {
    format!("\"{}\"", escape(bytes, Quotes::Escaped))
}

/// The bytes without quotes around them, for cells of tables.
pub(crate) fn escaped(bytes: &[u8]) -> String {
    escape(bytes, Quotes::Plain)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Quotes {
    Escaped,
    Plain,
}

fn escape(bytes: &[u8], quotes: Quotes) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' if quotes == Quotes::Escaped => text.push_str("\\\""),
                '\\' => text.push_str("\\\\"),
                '\x07' => text.push_str("\\a"),
                '\x08' => text.push_str("\\b"),
                '\x0c' => text.push_str("\\f"),
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                '\t' => text.push_str("\\t"),
                '\x0b' => text.push_str("\\v"),
                c if c.is_ascii_control() => {
                    push(&mut text, format_args!("\\x{:02x}", u32::from(c)));
                }
                c if c.is_control() => push(&mut text, format_args!("\\u{:04x}", u32::from(c))),
                c => text.push(c),
            }
        }
        for byte in chunk.invalid() {
            push(&mut text, format_args!("\\x{byte:02x}"));
        }
    }
    text
}

fn push(text: &mut String, escape: core::fmt::Arguments<'_>) {
    text.write_fmt(escape).expect("a string takes all text");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_seen_is_kept_and_the_rest_is_escaped() {
        let check = |bytes: &[u8], expected| assert_eq!(quoted(bytes), expected);
        check(b"plain", r#""plain""#);
        check("gr\u{fc}n".as_bytes(), "\"gr\u{fc}n\"");
        check(b"a\"b\\c", r#""a\"b\\c""#);
        check(b"\x07\x08\x0c\n\r\t\x0b", r#""\a\b\f\n\r\t\v""#);
        check(b"\0\x7f", r#""\x00\x7f""#);
        check(b"\xff\xc3", r#""\xff\xc3""#);
        check("\u{85}".as_bytes(), r#""\u0085""#);
    }

    #[test]
    fn a_cell_of_a_table_keeps_its_quotes() {
        assert_eq!(escaped(b"say \"hi\"\n"), r#"say "hi"\n"#);
    }
}
