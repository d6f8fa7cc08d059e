//! The list of exceptions, which may only shrink.
//!
//! A line is `RULE PATH` or `RULE PATH ITEM`; `#` begins a comment. An entry covers every finding
//! of its rule in that file, or under that name in it. An entry that covers nothing is a finding:
//! whoever mends an offender also takes it off the list.

use super::{Finding, Rule};

/// Where the list stands.
pub(super) const PATH: &str = "xtask/ratchet.txt";

struct Exception {
    line: usize,
    rule: Rule,
    path: String,
    item: String,
}

/// Takes the listed offenders out of `findings` and reports what is wrong with the list.
pub(super) fn apply(findings: Vec<Finding>, list: &str) -> Vec<Finding> {
    let (exceptions, mut left) = parse(list);
    let unused =
        exceptions.iter().filter(|exception| !findings.iter().any(|f| exception.covers(f)));
    left.extend(unused.map(|exception| {
        let message = format!(
            "{} {} {}: no longer needed; delete this line",
            exception.rule.name(),
            exception.path,
            exception.item
        );
        Finding::of_line(Rule::Ratchet, PATH, exception.line, message)
    }));
    let is_listed = |finding: &Finding| exceptions.iter().any(|e| e.covers(finding));
    left.extend(findings.into_iter().filter(|finding| !is_listed(finding)));
    left
}

impl Exception {
    fn covers(&self, finding: &Finding) -> bool {
        self.rule == finding.rule && self.path == finding.path && self.item == finding.item
    }
}

fn parse(list: &str) -> (Vec<Exception>, Vec<Finding>) {
    let (mut exceptions, mut findings) = (Vec::new(), Vec::new());
    for (number, text) in list.lines().enumerate() {
        let line = number + 1;
        let entry = text.split('#').next().unwrap_or_default();
        let words: Vec<&str> = entry.split_whitespace().collect();
        let (name, path, item) = match words.as_slice() {
            [] => continue,
            [name, path] => (name, path, ""),
            [name, path, item] => (name, path, *item),
            _ => {
                let message = "expected `RULE PATH` or `RULE PATH ITEM`";
                findings.push(Finding::of_line(Rule::Ratchet, PATH, line, message));
                continue;
            }
        };
        match Rule::parse(name) {
            Some(rule) if rule.has_exceptions() => {
                let (path, item) = ((*path).to_owned(), item.to_owned());
                exceptions.push(Exception { line, rule, path, item });
            }
            Some(_) => {
                let message = format!("{name} has no exceptions");
                findings.push(Finding::of_line(Rule::Ratchet, PATH, line, message));
            }
            None => {
                let message = format!("there is no rule {name}");
                findings.push(Finding::of_line(Rule::Ratchet, PATH, line, message));
            }
        }
    }
    (exceptions, findings)
}

#[cfg(test)]
mod tests {
    use super::{Finding, PATH, Rule, apply};

    fn long_function() -> Finding {
        Finding::of_line(Rule::FunctionLines, "a.rs", 7, "f has 71 lines").named("f")
    }

    fn messages(findings: &[Finding]) -> Vec<String> {
        findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_listed_offender_is_not_reported() {
        assert_eq!(apply(vec![long_function()], "# why\nfunction-lines a.rs f # a table\n"), []);
    }

    #[test]
    fn an_exception_for_one_function_does_not_cover_another() {
        let other = Finding { item: "g".into(), ..long_function() };
        let left = apply(vec![long_function(), other.clone()], "function-lines a.rs f\n");
        assert_eq!(left, [other]);
    }

    #[test]
    fn an_exception_that_is_no_longer_needed_is_reported() {
        let left = apply(Vec::new(), "\nfunction-lines a.rs f\n");
        assert_eq!(
            messages(&left),
            [format!(
                "{PATH}:2: ratchet: function-lines a.rs f: no longer needed; delete this line"
            )]
        );
    }

    #[test]
    fn edges_have_no_exceptions() {
        let edge = Finding::of_file(Rule::Edges, "Cargo.toml", "up");
        let left = apply(vec![edge.clone()], "edges Cargo.toml\n");
        assert_eq!(
            messages(&left),
            [format!("{PATH}:1: ratchet: edges has no exceptions"), edge.to_string()]
        );
    }

    #[test]
    fn a_line_that_says_nothing_is_reported() {
        let left = apply(Vec::new(), "first-line\nno-such-rule a.rs\n");
        assert_eq!(
            messages(&left),
            [
                format!("{PATH}:1: ratchet: expected `RULE PATH` or `RULE PATH ITEM`"),
                format!("{PATH}:2: ratchet: there is no rule no-such-rule"),
            ]
        );
    }
}
