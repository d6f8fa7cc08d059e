//! What the crates of the house may draw in from outside, directly or through others.
//!
//! * `raft-core` stands on `bytes` and nothing else.
//! * `raft-storage`, `raft-kv` and `raft-sim` know no async runtime, so the same code runs under
//!   a simulated clock; `raft-kv` knows no protobuf either.
//!
//! Only what is linked into the crate counts: its normal and build dependencies and theirs.

use std::collections::BTreeMap;

use serde_json::Value;

use super::edges::{Kind, members};
use super::{Finding, Rule, TidyError};

/// What stands in a crate's tree of dependencies.
enum Law {
    /// Nothing but these.
    Only(&'static [&'static str]),
    /// None of these.
    Never(&'static [&'static str]),
}

const LAWS: &[(&str, Law)] = &[
    ("raft-core", Law::Only(&["bytes"])),
    ("raft-storage", Law::Never(&["async-std", "hyper", "smol", "tokio"])),
    ("raft-kv", Law::Never(&["async-std", "hyper", "prost", "smol", "tokio", "tonic"])),
    ("raft-sim", Law::Never(&["async-std", "hyper", "smol", "tokio"])),
];

/// Checks every crate that has a law of its own.
///
/// # Errors
///
/// [`TidyError::Metadata`] if `metadata` is not what `cargo metadata` prints.
pub(super) fn check(metadata: &Value) -> Result<Vec<Finding>, TidyError> {
    let graph = Graph::new(metadata)?;
    let mut findings = Vec::new();
    for (name, package) in members(metadata)? {
        let Some((_, law)) = LAWS.iter().find(|(subject, _)| *subject == name) else { continue };
        let id = package["id"].as_str().ok_or(TidyError::Metadata { missing: "packages[].id" })?;
        let reached = graph.reached(id);
        let broken = reached.values().filter(|path| law.forbids(path));
        findings.extend(broken.map(|path| {
            let manifest = format!("crates/{name}/Cargo.toml");
            let message = format!("{}: {}", path.join(" → "), law.reason());
            Finding::of_file(Rule::Outside, &manifest, message)
        }));
    }
    Ok(findings)
}

impl Law {
    /// Whether the crate at the end of `path` may not be there. Crates of the house are judged by
    /// the table of edges.
    fn forbids(&self, path: &[&str]) -> bool {
        let [.., last] = path else { return false };
        match self {
            Self::Only(names) => !names.contains(last),
            Self::Never(names) => names.contains(last),
        }
    }

    fn reason(&self) -> String {
        match self {
            Self::Only(names) => format!("this crate stands on {} alone", names.join(", ")),
            Self::Never(_) => "this crate does not know such things; a host or a door does".into(),
        }
    }
}

/// Who links whom, as cargo resolved it.
struct Graph<'a> {
    names: BTreeMap<&'a str, &'a str>,
    links: BTreeMap<&'a str, Vec<&'a str>>,
}

impl<'a> Graph<'a> {
    fn new(metadata: &'a Value) -> Result<Self, TidyError> {
        let list =
            |value: &'a Value, missing| value.as_array().ok_or(TidyError::Metadata { missing });
        let text =
            |value: &'a Value, missing| value.as_str().ok_or(TidyError::Metadata { missing });
        let mut names = BTreeMap::new();
        for package in list(&metadata["packages"], "packages")? {
            let id = text(&package["id"], "packages[].id")?;
            names.insert(id, text(&package["name"], "packages[].name")?);
        }
        let mut links = BTreeMap::new();
        for node in list(&metadata["resolve"]["nodes"], "resolve.nodes")? {
            let mut linked = Vec::new();
            for dependency in list(&node["deps"], "resolve.nodes[].deps")? {
                let kinds = list(&dependency["dep_kinds"], "resolve.nodes[].deps[].dep_kinds")?;
                if kinds.iter().any(|kind| Kind::parse(kind["kind"].as_str()) != Kind::Dev) {
                    linked.push(text(&dependency["pkg"], "resolve.nodes[].deps[].pkg")?);
                }
            }
            links.insert(text(&node["id"], "resolve.nodes[].id")?, linked);
        }
        Ok(Self { names, links })
    }

    /// Everything below `id`, each with the shortest way there, as names from `id` on.
    fn reached(&self, id: &'a str) -> BTreeMap<&'a str, Vec<&'a str>> {
        let name = |id: &'a str| self.names.get(id).copied().unwrap_or(id);
        let mut paths: BTreeMap<&str, Vec<&str>> = BTreeMap::from([(id, vec![name(id)])]);
        let mut queue = std::collections::VecDeque::from([id]);
        while let Some(at) = queue.pop_front() {
            for &to in self.links.get(at).into_iter().flatten() {
                if !paths.contains_key(to) {
                    let mut path = paths[at].clone();
                    path.push(name(to));
                    paths.insert(to, path);
                    queue.push_back(to);
                }
            }
        }
        paths.remove(id);
        paths
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::check;

    /// A workspace of `members`, and links as (from, to, kind).
    fn metadata(members: &[&str], links: &[(&str, &str, Value)]) -> Value {
        let mut names: Vec<&str> = members.to_vec();
        names.extend(links.iter().flat_map(|(from, to, _)| [*from, *to]));
        names.sort_unstable();
        names.dedup();
        let nodes = names.iter().map(|name| {
            let own = links.iter().filter(|(from, _, _)| from == name);
            let deps = own.map(|(_, to, kind)| json!({"pkg": to, "dep_kinds": [{"kind": kind}]}));
            json!({"id": name, "deps": deps.collect::<Vec<_>>()})
        });
        json!({
            "workspace_members": members,
            "packages": names.iter().map(|n| json!({"id": n, "name": n})).collect::<Vec<_>>(),
            "resolve": {"nodes": nodes.collect::<Vec<_>>()},
        })
    }

    fn messages(members: &[&str], links: &[(&str, &str, Value)]) -> Vec<String> {
        let findings = check(&metadata(members, links)).unwrap();
        findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_core_stands_on_bytes_alone() {
        let bytes = ("raft-core", "bytes", Value::Null);
        assert_eq!(messages(&["raft-core"], std::slice::from_ref(&bytes)), Vec::<String>::new());
        let links = [bytes, ("raft-core", "rand", Value::Null)];
        assert_eq!(
            messages(&["raft-core"], &links),
            ["crates/raft-core/Cargo.toml: outside: raft-core → rand: this crate stands on bytes \
             alone"]
        );
    }

    #[test]
    fn a_runtime_that_comes_in_through_another_crate_is_found_with_its_way() {
        let links = [("raft-storage", "io", Value::Null), ("io", "tokio", json!("build"))];
        let expected = "crates/raft-storage/Cargo.toml: outside: raft-storage → io → tokio: this \
                        crate does not know such things; a host or a door does";
        assert_eq!(messages(&["raft-storage"], &links), [expected]);
    }

    #[test]
    fn what_only_tests_use_is_not_linked() {
        let links = [("raft-core", "proptest", json!("dev"))];
        assert_eq!(messages(&["raft-core"], &links), Vec::<String>::new());
    }

    #[test]
    fn hosts_and_doors_may_know_a_runtime() {
        let links = [("raft-runtime", "tokio", Value::Null)];
        assert_eq!(messages(&["raft-runtime"], &links), Vec::<String>::new());
    }
}
