//! The text of `raftd --help`, made from the table of flags.

use std::fmt::Write as _;

use super::table::{Group, Row, Support, WORKING, rows};

/// The help: how to call, then the flags by group with their defaults.
pub fn help() -> String {
    let mut text = String::from(USAGE);
    for (group, title) in GROUPS {
        // Writing into a string cannot fail.
        _ = writeln!(text, "\n{title}:");
        for row in WORKING.iter().filter(|row| row.group == group) {
            entry(&mut text, row);
        }
    }
    text.push_str("\nAccepted for compatibility with etcd, without effect yet:\n");
    listed(&mut text, |support| support == Support::Ineffective);
    text.push_str("\nRefused, because ignoring them would mislead you:\n");
    listed(&mut text, |support| matches!(support, Support::Refused { .. }));
    text
}

fn entry(text: &mut String, row: &Row) {
    _ = writeln!(text, "  --{} '{}'\n        {}", row.flag.name, row.default, row.help);
}

fn listed(text: &mut String, wanted: impl Fn(Support) -> bool) {
    let mut line = String::from(" ");
    for row in rows().iter().filter(|row| wanted(row.support)) {
        if line.len() + row.flag.name.len() + 3 > WIDTH {
            _ = writeln!(text, "{line}");
            line = String::from(" ");
        }
        _ = write!(line, " --{}", row.flag.name);
    }
    _ = writeln!(text, "{line}");
}

const USAGE: &str = "\
Usage:

  raftd [flags]          serve: be a member of a cluster
  raftd dev [flags]      run a cluster on this machine, to try things out
  raftd demo [flags]     kill leaders under load and check that nothing is lost
  raftd restore FILE ... make the data directory of a new cluster from a backup
  raftd help             print this help
  raftd version          print the version

Every flag below may also be given as a variable: ETCD_ and its name in capitals, with _ for -;
but not both ways at once.

A new member of a running cluster is added with 'raftctl member add', which prints what to start
it with. Exit status of a member: 0 stopped as asked, 1 failed, 3 removed from its cluster.
";

const GROUPS: [(Group, &str); 5] = [
    (Group::Member, "Member"),
    (Group::Clustering, "Clustering"),
    (Group::Limits, "Times and sizes"),
    (Group::Logging, "Logging"),
    (Group::Information, "Information"),
];

/// Columns of a terminal that everybody has.
const WIDTH: usize = 90;
