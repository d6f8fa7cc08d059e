//! The four formats an answer can be printed in, and what all answers need for them.
//!
//! * `simple` and `json` are byte for byte what etcd's command line prints, so scripts can rely on
//!   them. Where it prints nothing or refuses, such as a count, they print more. `fields` follows
//!   it too; `table` is for people.
//! * Text of users never breaks a line of `fields` or `table`; `simple` prints it as it is.
//!
//! Read next: `answers.rs`, which says it for every answer.

use core::fmt;
use std::io::Write as _;

use clap::ValueEnum;
use raft_api::etcdserverpb::ResponseHeader;
use serde_json::Value;

use crate::quote::quoted;

/// How an answer is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Lines for scripts: keys and values as they are
    Simple,
    /// One JSON document: keys and values in base64, numbers as numbers
    Json,
    /// One field per line: keys and values quoted
    Fields,
    /// Tables for people
    Table,
}

/// Something to print.
pub(crate) trait Answer {
    /// Lines for scripts.
    fn simple(&self, out: &mut Vec<u8>);
    /// The answer as JSON.
    fn json(&self) -> Value;
    /// One field per line.
    fn fields(&self, out: &mut Fields);
    /// Tables for people, one below the other.
    fn tables(&self) -> Vec<Table>;
}

/// What a command prints at its end.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// For standard output.
    pub(crate) output: Vec<u8>,
    /// For standard error, one line each; not empty makes the exit code 1.
    pub(crate) problems: Vec<String>,
}

impl Report {
    /// The answer in a format, without problems.
    pub(crate) fn of(answer: &dyn Answer, format: Format) -> Self {
        Self { output: render(answer, format), problems: Vec::new() }
    }
}

/// The answer in a format.
pub(crate) fn render(answer: &dyn Answer, format: Format) -> Vec<u8> {
    match format {
        Format::Simple => {
            let mut out = Vec::new();
            answer.simple(&mut out);
            out
        }
        Format::Json => {
            let mut out = answer.json().to_string().into_bytes();
            out.push(b'\n');
            out
        }
        Format::Fields => {
            let mut fields = Fields(Vec::new());
            answer.fields(&mut fields);
            fields.0
        }
        Format::Table => {
            answer.tables().iter().map(ToString::to_string).collect::<String>().into_bytes()
        }
    }
}

/// Adds text and an end of line.
pub(crate) fn line(out: &mut Vec<u8>, text: impl AsRef<[u8]>) {
    out.extend_from_slice(text.as_ref());
    out.push(b'\n');
}

/// Lines of the form `"Name" : value`.
pub(crate) struct Fields(Vec<u8>);

impl Fields {
    /// A number or a boolean.
    pub(crate) fn plain(&mut self, name: &str, value: impl fmt::Display) {
        writeln!(self.0, "\"{name}\" : {value}").expect("a vector takes all bytes");
    }

    /// Text of somebody, quoted.
    pub(crate) fn text(&mut self, name: &str, value: impl AsRef<[u8]>) {
        self.plain(name, quoted(value.as_ref()));
    }

    /// The four fields of a header; an absent one reads as zeros.
    pub(crate) fn header(&mut self, header: Option<&ResponseHeader>) {
        let header = header.copied().unwrap_or_default();
        self.plain("ClusterID", header.cluster_id);
        self.plain("MemberID", header.member_id);
        self.plain("Revision", header.revision);
        self.plain("RaftTerm", header.raft_term);
    }

    /// An empty line, between things of a list.
    pub(crate) fn gap(&mut self) {
        self.0.push(b'\n');
    }
}

/// A table with a frame: titles centred, text to the left, numbers to the right.
///
/// Cells hold text that is safe to print on one line.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    title: &'static str,
    align: Align,
}

#[derive(Clone, Copy, Debug)]
enum Align {
    Left,
    Right,
    Centre,
}

/// A column of text.
pub(crate) const fn text(title: &'static str) -> Column {
    Column { title, align: Align::Left }
}

/// A column of numbers.
pub(crate) const fn number(title: &'static str) -> Column {
    Column { title, align: Align::Right }
}

impl Table {
    /// A table without rows.
    pub(crate) fn new(columns: &[Column]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        assert_eq!(cells.len(), self.columns.len(), "a row has a cell per column");
        self.rows.push(cells);
    }

    /// The table with one more row.
    pub(crate) fn with_row(mut self, cells: Vec<String>) -> Self {
        self.row(cells);
        self
    }

    fn widths(&self) -> Vec<usize> {
        let width = |(number, column): (usize, &Column)| {
            let cells = self.rows.iter().map(|row| row[number].chars().count());
            cells.max().unwrap_or(0).max(column.title.chars().count())
        };
        self.columns.iter().enumerate().map(width).collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        let rules: Vec<_> = widths.iter().map(|width| "-".repeat(width + 2)).collect();
        let rule = rules.join("+");
        writeln!(formatter, "+{rule}+")?;
        let titles = self.columns.iter().map(|column| (column.title, Align::Centre));
        write_row(formatter, titles, &widths)?;
        writeln!(formatter, "+{rule}+")?;
        for row in &self.rows {
            let aligns = self.columns.iter().map(|column| column.align);
            write_row(formatter, row.iter().map(String::as_str).zip(aligns), &widths)?;
        }
        if !self.rows.is_empty() {
            writeln!(formatter, "+{rule}+")?;
        }
        Ok(())
    }
}

fn write_row<'a>(
    formatter: &mut fmt::Formatter<'_>,
    cells: impl Iterator<Item = (&'a str, Align)>,
    widths: &[usize],
) -> fmt::Result {
    for ((cell, align), &width) in cells.zip(widths) {
        match align {
            Align::Left => write!(formatter, "| {cell:<width$} ")?,
            Align::Right => write!(formatter, "| {cell:>width$} ")?,
            Align::Centre => write!(formatter, "| {cell:^width$} ")?,
        }
    }
    writeln!(formatter, "|")
}

/// Bytes for people, in powers of 1000, as etcd's command line prints them.
pub(crate) fn human_bytes(bytes: i64) -> String {
    let bytes = u64::try_from(bytes).unwrap_or(0);
    if bytes < 10 {
        return format!("{bytes} B");
    }
    let (mut unit, mut power) = (0, 1_u128);
    while unit + 1 < UNITS.len() && u128::from(bytes) >= power * 1000 {
        power *= 1000;
        unit += 1;
    }
    // Rounded to tenths first. Two digits need no tenths; halves then go to the even number.
    let tenths = (u128::from(bytes) * 20 + power) / (power * 2);
    if tenths < 100 {
        format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
    } else {
        let (whole, rest) = (tenths / 10, tenths % 10);
        let is_up = rest > 5 || (rest == 5 && whole % 2 == 1);
        format!("{} {}", whole + u128::from(is_up), UNITS[unit])
    }
}

const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_centres_its_titles_and_sets_numbers_to_the_right() {
        let table = Table::new(&[text("KEY"), number("VERSION")])
            .with_row(vec!["colour".to_owned(), "1".to_owned()])
            .with_row(vec!["a".to_owned(), "12345678".to_owned()]);
        let expected = "\
+--------+----------+
|  KEY   | VERSION  |
+--------+----------+
| colour |        1 |
| a      | 12345678 |
+--------+----------+
";
        assert_eq!(table.to_string(), expected);
    }

    #[test]
    fn a_table_counts_letters_and_not_bytes() {
        let table = Table::new(&[text("K")]).with_row(vec!["gr\u{fc}n".to_owned()]);
        let expected = "+------+\n|  K   |\n+------+\n| gr\u{fc}n |\n+------+\n";
        assert_eq!(table.to_string(), expected);
    }

    #[test]
    fn an_empty_table_is_its_titles() {
        let expected = "+-----+\n| KEY |\n+-----+\n";
        assert_eq!(Table::new(&[text("KEY")]).to_string(), expected);
    }

    #[test]
    fn sizes_are_short() {
        let check = |bytes, expected| assert_eq!(human_bytes(bytes), expected);
        check(0, "0 B");
        check(9, "9 B");
        check(10, "10 B");
        check(999, "999 B");
        check(1_000, "1.0 kB");
        check(1_049, "1.0 kB");
        check(1_050, "1.1 kB");
        check(9_949, "9.9 kB");
        check(9_950, "10 kB");
        check(20_480, "20 kB");
        check(21_500, "22 kB");
        check(2_147_483_648, "2.1 GB");
        check(8_589_934_592, "8.6 GB");
        check(i64::MAX, "9.2 EB");
        check(-1, "0 B");
    }

    #[test]
    fn a_field_is_a_name_and_a_value_on_one_line() {
        let mut fields = Fields(Vec::new());
        fields.header(None);
        fields.text("Key", b"a\n\"b\"");
        fields.plain("Lease", 7);
        let expected = "\"ClusterID\" : 0\n\"MemberID\" : 0\n\"Revision\" : 0\n\"RaftTerm\" : 0\n\
                        \"Key\" : \"a\\n\\\"b\\\"\"\n\"Lease\" : 7\n";
        assert_eq!(String::from_utf8(fields.0).unwrap(), expected);
    }
}
