//! Command-line flags with the syntax of Go's `flag` package, which etcd's users know by heart.
//!
//! * `--name value`, `--name=value`, and both with one dash; a switch is `--x` or `--x=false`.
//! * The last of several equal flags wins, as in Go; `--` ends the flags.
//! * Nothing is refused at the first fault: all problems come together, each one sentence that says
//!   what to write instead.
//!
//! Read next: `config/table.rs`, the flags of the server.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// A flag that a command knows.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// Its name, without dashes.
    pub name: &'static str,
    /// Whether it takes a value.
    pub kind: Kind,
    /// A value that is right, shown when one was wrong.
    pub example: &'static str,
}

/// Whether a flag takes a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `--name value` or `--name=value`.
    Value,
    /// `--name` or `--name=false`.
    Switch,
}

/// The flags that were given, and what was wrong with others.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    /// What was given, by the name of the flag.
    pub values: BTreeMap<&'static str, String>,
    /// One sentence per problem.
    pub problems: Vec<String>,
}

impl Parsed {
    /// The value of a flag, if it was given.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// Whether a switch is on; a switch that was not given is off.
    pub fn is_on(&self, name: &str) -> bool {
        self.text(name).and_then(switch).unwrap_or(false)
    }

    /// The number given with a flag, or its default. A value that is no number of this type, or
    /// lies outside of `range`, becomes a problem.
    pub fn number<N>(&mut self, flag: &Flag, default: N, range: (N, N)) -> N
    where
        N: Copy + fmt::Display + FromStr + PartialOrd,
    {
        let Some(text) = self.values.get(flag.name) else { return default };
        let (min, max) = range;
        match text.parse::<N>() {
            Ok(number) if (min..=max).contains(&number) => number,
            Ok(_) | Err(_) => {
                self.problems.push(format!(
                    "--{} {text:?} is not a whole number from {min} to {max}; write for example \
                     --{}={}",
                    flag.name, flag.name, flag.example
                ));
                default
            }
        }
    }
}

/// Reads `arguments` by a table of known flags.
pub fn parse(arguments: &[String], table: &[Flag]) -> Parsed {
    let mut parsed = Parsed::default();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let Some(body) = flag_body(argument) else {
            parsed.problems.push(stray(argument));
            continue;
        };
        if body.is_empty() {
            parsed.problems.extend(arguments.by_ref().map(|rest| stray(rest)));
            break;
        }
        let (name, attached) = match body.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (body, None),
        };
        let Some(flag) = table.iter().find(|flag| flag.name == name) else {
            parsed.problems.push(unknown(name, table));
            continue;
        };
        let value = match (flag.kind, attached) {
            (Kind::Value, Some(value)) => Ok(value),
            (Kind::Value, None) => arguments.next().cloned().ok_or_else(|| {
                format!("--{name} needs a value; write for example --{name}={}", flag.example)
            }),
            (Kind::Switch, None) => Ok("true".to_owned()),
            (Kind::Switch, Some(value)) if switch(&value).is_some() => Ok(value),
            (Kind::Switch, Some(value)) => Err(bad_switch(name, &value)),
        };
        match value {
            Ok(value) => drop(parsed.values.insert(flag.name, value)),
            Err(problem) => parsed.problems.push(problem),
        }
    }
    parsed
}

/// What stands behind the dashes; `None` for what is no flag.
fn flag_body(argument: &str) -> Option<&str> {
    let body = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-'))?;
    (argument == "--" || !body.is_empty()).then_some(body)
}

/// Reads the values that Go accepts for a switch.
pub fn switch(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Says that the value of a switch is neither true nor false.
pub fn bad_switch(name: &str, value: &str) -> String {
    format!("--{name}={value} is neither true nor false; write --{name} or --{name}=false")
}

fn stray(argument: &str) -> String {
    format!(
        "{argument:?} stands where a flag was expected; write flags as --name=value, and a switch \
         that is off as --name=false"
    )
}

fn unknown(name: &str, table: &[Flag]) -> String {
    match nearest(name, table.iter().map(|flag| flag.name)) {
        Some(near) => format!("--{name} is not known; did you mean --{near}?"),
        None => format!("--{name} is not known; --help lists all flags"),
    }
}

/// The known word nearest to a mistyped one, if any is near enough to be meant.
pub fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let bound = word.len() / 3 + 1;
    let near = known.map(|candidate| (distance(word, candidate), candidate)).min()?;
    (near.0 <= bound).then_some(near.1)
}

/// How many letters to add, drop, replace or swap with the next one (Damerau, restricted).
fn distance(left: &str, right: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    let mut before = vec![0; right.len() + 1];
    let mut above: Vec<usize> = (0..=right.len()).collect();
    for row in 1..=left.len() {
        let mut line = vec![row; right.len() + 1];
        for column in 1..=right.len() {
            let differs = usize::from(left[row - 1] != right[column - 1]);
            line[column] =
                (above[column] + 1).min(line[column - 1] + 1).min(above[column - 1] + differs);
            let swapped = row > 1
                && column > 1
                && left[row - 1] == right[column - 2]
                && left[row - 2] == right[column - 1];
            if swapped {
                line[column] = line[column].min(before[column - 2] + 1);
            }
        }
        before = std::mem::replace(&mut above, line);
    }
    above[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: [Flag; 3] = [
        Flag { name: "data-dir", kind: Kind::Value, example: "/var/lib/raftd" },
        Flag { name: "nodes", kind: Kind::Value, example: "3" },
        Flag { name: "json", kind: Kind::Switch, example: "true" },
    ];

    fn read(arguments: &[&str]) -> Parsed {
        parse(&arguments.iter().map(ToString::to_string).collect::<Vec<_>>(), &TABLE)
    }

    fn problem(arguments: &[&str]) -> String {
        let parsed = read(arguments);
        assert_eq!(parsed.problems.len(), 1, "{:?}", parsed.problems);
        parsed.problems[0].clone()
    }

    /// One or two dashes, the value attached or apart: all spell the same flag.
    #[test]
    fn every_spelling_of_go_is_understood() {
        for spelling in [
            &["--data-dir", "d"][..],
            &["--data-dir=d"],
            &["-data-dir", "d"],
            &["-data-dir=d"],
            &["--data-dir=c", "--data-dir=d"],
        ] {
            let parsed = read(spelling);
            assert_eq!(parsed.text("data-dir"), Some("d"), "{spelling:?}");
            assert!(parsed.problems.is_empty(), "{spelling:?}");
        }
        assert_eq!(read(&["--data-dir=a=b"]).text("data-dir"), Some("a=b"), "the first = counts");
        assert_eq!(read(&["--data-dir", "-x"]).text("data-dir"), Some("-x"), "a value may be -x");
    }

    /// A switch stands alone; a word after it is not its value, and Go says so too.
    #[test]
    fn a_switch_takes_its_value_attached_only() {
        assert!(read(&["--json"]).is_on("json"));
        assert!(read(&["--json=1"]).is_on("json"));
        assert!(!read(&["--json=false"]).is_on("json"));
        assert!(!read(&[]).is_on("json"));
        let text = problem(&["--json", "false"]);
        assert!(text.starts_with("\"false\" stands where a flag was expected"), "{text}");
        assert_eq!(
            problem(&["--json=maybe"]),
            "--json=maybe is neither true nor false; write --json or --json=false"
        );
    }

    /// A mistyped flag is answered with the one that was meant; a strange one with the way to help.
    #[test]
    fn unknown_flags_name_the_nearest() {
        assert_eq!(problem(&["--datadir=x"]), "--datadir is not known; did you mean --data-dir?");
        assert_eq!(problem(&["--ndoes=3"]), "--ndoes is not known; did you mean --nodes?");
        assert_eq!(problem(&["--zebra"]), "--zebra is not known; --help lists all flags");
    }

    /// A missing value and a number out of range say what would be right.
    #[test]
    fn bad_values_come_with_an_example() {
        assert_eq!(
            problem(&["--data-dir"]),
            "--data-dir needs a value; write for example --data-dir=/var/lib/raftd"
        );
        for text in ["ten", "0", "10", "-1", "", "3.5"] {
            let mut parsed = read(&["--nodes", text]);
            assert_eq!(parsed.number(&TABLE[1], 3_u32, (1, 9)), 3, "the default stands in");
            assert_eq!(
                parsed.problems,
                [format!(
                    "--nodes {text:?} is not a whole number from 1 to 9; write for example \
                     --nodes=3"
                )]
            );
        }
        assert_eq!(read(&["--nodes=9"]).number(&TABLE[1], 3_u32, (1, 9)), 9);
    }

    /// All problems are reported, not the first; what is right is kept.
    #[test]
    fn all_problems_come_together() {
        let parsed = read(&["-", "--nope", "--nodes=5", "--", "tail"]);
        assert_eq!(parsed.problems.len(), 3, "{:?}", parsed.problems);
        assert_eq!(parsed.text("nodes"), Some("5"));
    }

    /// Letters added, dropped, replaced and swapped each count one.
    #[test]
    fn distances_of_words() {
        for (left, right, expected) in
            [("name", "name", 0), ("nam", "name", 1), ("nmae", "name", 1), ("", "abc", 3)]
        {
            assert_eq!(distance(left, right), expected, "{left} {right}");
        }
    }
}
