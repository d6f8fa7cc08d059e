//! The rules of files that are read by people: scripts, decisions, links.
//!
//! Read next: `docs/adr/README.md`, the index these rules keep complete.

use std::path::Path;

use super::{File, Finding, Rule};

const DECISIONS: &str = "docs/adr/";
const INDEX: &str = "docs/adr/README.md";
/// The parts of a decision, in this order.
const PARTS: [&str; 5] = ["Status", "Context", "Decision", "Consequences", "Alternatives"];
/// A page.
const DECISION_LINES_MAX: usize = 70;
/// Beginnings of paths that exist on one machine only. Each is written in two pieces, so that
/// this file keeps its own rule.
const MACHINE: [&str; 6] = [
    concat!("/wo", "rk/"),
    concat!("/tmp/", "brief"),
    concat!("../", "shared"),
    concat!("/ho", "me/"),
    concat!("/ro", "ot/."),
    concat!("/Us", "ers/"),
];

/// Checks one file; `root` is where its links begin.
pub(super) fn check(file: &File, root: &Path) -> Vec<Finding> {
    let mut findings = machine(file);
    findings.extend(script(file));
    if file.has_extension("md") {
        let exists = |target: &str| root.join(target).exists();
        findings.extend(links(file, exists));
    }
    findings
}

fn machine(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in file.text.lines().enumerate() {
        for word in MACHINE.iter().filter(|word| line.contains(**word)) {
            let message = format!("{word} is a path of one machine");
            findings.push(Finding::of_line(Rule::Machine, &file.path, number + 1, message));
        }
    }
    findings
}

/// Golden scripts stand in a folder `scripts` of a crate.
fn script(file: &File) -> Option<Finding> {
    let is_script = file.rust.is_none()
        && file.path.starts_with("crates/")
        && file.path.split('/').any(|part| part == "scripts");
    let message = "a script begins with `#` and what it shows";
    (is_script && !file.text.starts_with("# "))
        .then(|| Finding::of_line(Rule::Script, &file.path, 1, message))
}

/// Relative links and named paths that lead nowhere, if `exists` answers for paths from the root.
fn links(file: &File, exists: impl Fn(&str) -> bool) -> Vec<Finding> {
    let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut findings = Vec::new();
    let mut is_code = false;
    for (number, line) in file.text.lines().enumerate() {
        is_code ^= line.trim_start().starts_with("```");
        if is_code {
            continue;
        }
        let mut report = |target: &str| {
            let message = format!("{target} leads nowhere");
            findings.push(Finding::of_line(Rule::Link, &file.path, number + 1, message));
        };
        for target in targets(line) {
            let path = target.split('#').next().unwrap_or_default();
            let is_local = !path.is_empty() && !path.contains(':');
            if is_local && !resolve(folder, path).is_some_and(|path| exists(&path)) {
                report(target);
            }
        }
        named_paths(line).filter(|path| !exists(path)).for_each(report);
    }
    findings
}

/// What stands in the round brackets of `[words](target)`.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split(')').next())
}

/// Paths from the root that stand between backticks, such as `docs/adr`.
fn named_paths(line: &str) -> impl Iterator<Item = &str> {
    let spans = line.split('`').skip(1).step_by(2);
    spans.filter(|span| {
        let is_path = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        let is_ours =
            ["crates/", "docs/", "xtask/", ".ci/"].iter().any(|top| span.starts_with(top));
        is_ours && span.chars().all(is_path)
    })
}

/// `path` from `folder` on, without `.` and `..`; `None` if it leaves the repository.
fn resolve(folder: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

/// Checks the decisions and their index.
pub(super) fn check_decisions(files: &[File]) -> Vec<Finding> {
    let index = files.iter().find(|file| file.path == INDEX).map_or("", |file| &file.text);
    let listed: Vec<&str> = index.lines().flat_map(targets).collect();
    let decisions = files.iter().filter(|file| {
        file.path.starts_with(DECISIONS) && file.has_extension("md") && file.path != INDEX
    });
    let mut findings = Vec::new();
    for file in decisions {
        let mut report =
            |message: String| findings.push(Finding::of_file(Rule::Decision, &file.path, message));
        if !listed.contains(&&file.path[DECISIONS.len()..]) {
            report(format!("not in the index {INDEX}"));
        }
        let heads: Vec<&str> =
            file.text.lines().filter_map(|line| line.strip_prefix("## ")).collect();
        if heads != PARTS {
            report(format!("a decision has the parts {}", PARTS.join(", ")));
        }
        let lines = file.text.lines().count();
        if lines > DECISION_LINES_MAX {
            report(format!("{lines} lines; at most a page of {DECISION_LINES_MAX}"));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::{INDEX, check_decisions, links, machine, resolve, script};
    use crate::tidy::{File, Finding};

    fn file(path: &str, text: &str) -> File {
        File::new(path, text.as_bytes())
    }

    fn lines(findings: &[Finding]) -> Vec<usize> {
        findings.iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn a_path_of_one_machine_is_found_in_any_file() {
        let text = format!("a: 1\npath: {}ada/raft\n", concat!("/ho", "me/"));
        assert_eq!(lines(&machine(&file("deploy.yaml", &text))), [2]);
        assert!(machine(&file("deploy.yaml", "path: /var/lib/raftd\n")).is_empty());
    }

    #[test]
    fn a_script_begins_with_what_it_shows() {
        let path = "crates/raft-sim/scripts/election/split_vote.txt";
        assert!(script(&file(path, "cluster nodes=3\n")).is_some());
        assert!(script(&file(path, "")).is_some());
        assert!(script(&file(path, "# A split vote ends.\ncluster nodes=3\n")).is_none());
        assert!(script(&file("docs/notes.txt", "words\n")).is_none());
    }

    #[test]
    fn a_link_is_followed_from_the_folder_of_its_file() {
        let text = "[a](../adr/README.md#top), [b](STYLE.md)\n[c](gone.md) [d](#here)\n\
                    [e](https://example.org/x.md)\n```\nf[0](x)\n```\n[g](../../up.md)\n";
        let exists = |path: &str| matches!(path, "docs/adr/README.md" | "docs/notes/STYLE.md");
        assert_eq!(lines(&links(&file("docs/notes/a.md", text), exists)), [2, 7]);
    }

    #[test]
    fn a_file_that_a_document_names_exists() {
        let text = "See `docs/STYLE.md` and `docs/gone.md`.\nUse `crates/<name>/` or `docs x`.\n";
        let exists = |path: &str| path == "docs/STYLE.md";
        let findings = links(&file("docs/a.md", text), exists);
        let messages: Vec<String> = findings.iter().map(ToString::to_string).collect();
        assert_eq!(messages, ["docs/a.md:1: link: docs/gone.md leads nowhere"]);
    }

    #[test]
    fn paths_are_resolved_inside_the_repository_only() {
        assert_eq!(resolve("docs/adr", "../STYLE.md").as_deref(), Some("docs/STYLE.md"));
        assert_eq!(resolve("", "./docs/").as_deref(), Some("docs"));
        assert_eq!(resolve("docs", "../../x"), None);
    }

    const DECISION: &str =
        "# A\n## Status\n## Context\n## Decision\n## Consequences\n## Alternatives\n";

    fn decisions(index: &str, decision: &str) -> Vec<String> {
        let files = [file("docs/adr/0001-a.md", decision), file(INDEX, index)];
        check_decisions(&files).into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn every_decision_is_in_the_index() {
        assert_eq!(decisions("[1](0001-a.md)\n", DECISION), Vec::<String>::new());
        assert_eq!(
            decisions("[1](0001-b.md)\n", DECISION),
            ["not in the index docs/adr/README.md"]
        );
    }

    #[test]
    fn a_decision_has_five_parts_and_a_page() {
        let index = "[1](0001-a.md)\n";
        let shorter = DECISION.replace("## Alternatives\n", "");
        assert_eq!(
            decisions(index, &shorter),
            ["a decision has the parts Status, Context, Decision, Consequences, Alternatives"]
        );
        let longer = format!("{DECISION}{}", "words\n".repeat(65));
        assert_eq!(decisions(index, &longer), ["71 lines; at most a page of 70"]);
    }
}
