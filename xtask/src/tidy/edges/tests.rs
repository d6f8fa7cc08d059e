//! Stories of the edge check: a small house, and what happens when somebody builds on.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Allowed, Edge, Kind, compare, manifests, parse_table};

const TABLE: &str = "\
Some words, and another table.

| lane | job |
|---|---|
| disk | `Persist` |

| crate | depends on (in the house) | weight from outside |
|---|---|---|
| `raft-core` | – | `bytes` |
| `raft-net` | core | `tokio` |
| `raft-runtime` | core, `raft-net` | – |
| `raft-tests` | any | – |
| `xtask` | – | `serde_json` |

More words.
";

fn edge(from: &str, to: &str, kind: Kind) -> Edge {
    Edge { from: from.into(), to: to.into(), kind }
}

fn house() -> BTreeSet<Edge> {
    BTreeSet::from([
        edge("raft-net", "raft-core", Kind::Normal),
        edge("raft-runtime", "raft-core", Kind::Normal),
        edge("raft-runtime", "raft-net", Kind::Normal),
        edge("raft-tests", "raft-runtime", Kind::Dev),
    ])
}

fn crates() -> BTreeSet<String> {
    ["raft-core", "raft-net", "raft-runtime", "raft-tests", "xtask"].map(String::from).into()
}

/// The complaints about `edges` and `crates` under the table.
fn complaints(crates: &BTreeSet<String>, edges: &BTreeSet<Edge>) -> Vec<String> {
    let table = parse_table(TABLE).unwrap();
    compare(&table, crates, edges).into_iter().map(|finding| finding.message).collect()
}

#[test]
fn the_table_is_found_among_others_and_read_to_its_end() {
    let table = parse_table(TABLE).unwrap();
    assert_eq!(table.keys().cloned().collect::<BTreeSet<_>>(), crates());
    let only = |names: &[&str]| Allowed::Only(names.iter().map(ToString::to_string).collect());
    assert_eq!(table["raft-core"], only(&[]));
    assert_eq!(table["raft-runtime"], only(&["raft-core", "raft-net"]));
    assert_eq!(table["raft-tests"], Allowed::Any);
}

#[test]
fn a_house_built_to_the_plan_has_no_complaints() {
    assert_eq!(complaints(&crates(), &house()), Vec::<String>::new());
}

#[test]
fn an_added_edge_is_reported_with_its_crate_and_the_remedy() {
    let mut edges = house();
    edges.insert(edge("raft-core", "raft-net", Kind::Normal));
    let expected = "raft-core names raft-net in its dependencies, and may import: none. Move the \
                    idea to the floor where it belongs, or change the table first, in review";
    assert_eq!(complaints(&crates(), &edges), [expected]);
}

#[test]
fn a_dev_dependency_that_runs_up_is_an_edge_like_any_other() {
    for (kind, section) in [(Kind::Dev, "dev-dependencies"), (Kind::Build, "build-dependencies")] {
        let mut edges = house();
        edges.insert(edge("raft-net", "raft-runtime", kind));
        let complaints = complaints(&crates(), &edges);
        assert_eq!(complaints.len(), 1);
        assert!(complaints[0].contains(section), "{complaints:?}");
        assert!(complaints[0].contains("may import: raft-core."), "{complaints:?}");
    }
}

#[test]
fn an_edge_that_exists_only_in_the_table_is_a_lie() {
    let mut edges = house();
    edges.remove(&edge("raft-runtime", "raft-net", Kind::Normal));
    assert_eq!(
        complaints(&crates(), &edges),
        ["row raft-runtime: it does not depend on raft-net; take raft-net out of the row"]
    );
}

#[test]
fn a_crate_without_a_row_and_a_row_without_a_crate_are_reported() {
    let mut crates = crates();
    crates.insert("raft-sim".into());
    crates.remove("xtask");
    assert_eq!(
        complaints(&crates, &house()),
        ["crate raft-sim has no row in the table of edges", "row xtask: there is no such crate"]
    );
}

#[test]
fn nobody_may_import_the_tests() {
    let mut edges = house();
    edges.insert(edge("raft-runtime", "raft-tests", Kind::Dev));
    assert_eq!(complaints(&crates(), &edges).len(), 1);
}

#[test]
fn a_table_that_cannot_be_read_says_where() {
    let check = |from: &str, to: &str, expected: (usize, &str)| {
        let broken = TABLE.replace(from, to);
        assert_ne!(broken, TABLE, "the story changes the table");
        let error = parse_table(&broken).unwrap_err();
        assert_eq!((error.0, error.1.as_str()), expected);
    };
    let none = "no table with the header `crate | depends on (in the house) | weight from outside`";
    check("in the house", "inside", (0, none));
    check("| core |", "| cure |", (10, "raft-cure has no row of its own"));
    check("`raft-net` |", "`raft-core` |", (10, "raft-core has two rows"));
    check("| core | `tokio` |", "| core |", (10, "2 cells in a row of three"));
}

fn dependency(name: &str, kind: Option<&str>) -> Value {
    json!({ "name": name, "kind": kind })
}

#[test]
fn edges_are_read_from_all_three_sections_of_a_manifest() {
    let package = |name: &str, dependencies: Vec<Value>| {
        let id = format!("{name} 0.1");
        json!({ "id": id, "name": name, "dependencies": dependencies })
    };
    let sections = vec![
        dependency("raft-core", None),
        dependency("raft-core", Some("dev")),
        dependency("raft-core", Some("build")),
        dependency("bytes", None),
    ];
    let metadata = json!({
        "workspace_members": ["raft-core 0.1", "raft-net 0.1"],
        "packages": [
            package("raft-core", vec![dependency("bytes", None)]),
            package("raft-net", sections),
            package("bytes", Vec::new()),
        ],
    });
    let (crates, edges) = manifests(&metadata).unwrap();
    assert_eq!(crates, ["raft-core", "raft-net"].map(String::from).into());
    let all = [Kind::Normal, Kind::Dev, Kind::Build];
    assert_eq!(edges, all.map(|kind| edge("raft-net", "raft-core", kind)).into());
}

#[test]
fn metadata_without_members_is_an_error_and_not_an_empty_house() {
    let error = manifests(&json!({ "packages": [] })).unwrap_err();
    assert_eq!(error.to_string(), "cargo metadata: no field workspace_members");
}
