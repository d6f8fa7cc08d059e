//! Stories of the rules: each is broken once, and once just kept.

use super::{assert_density, check, one_maker_of_receipts};
use crate::tidy::{File, Rule};

fn found(path: &str, text: &str) -> Vec<(Rule, usize)> {
    let findings = check(&File::new(path, text.as_bytes()));
    findings.into_iter().map(|finding| (finding.rule, finding.line)).collect()
}

const SHIPPED: &str = "crates/raft-core/src/log.rs";
const TEST: &str = "crates/raft-core/tests/paper.rs";

#[test]
fn a_file_begins_by_saying_what_it_is() {
    assert_eq!(found(SHIPPED, "use a;\n"), [(Rule::FirstLine, 1)]);
    assert_eq!(found(SHIPPED, ""), [(Rule::FirstLine, 1)]);
    assert_eq!(found(SHIPPED, "//! The log.\n"), []);
}

#[test]
fn attributes_of_the_crate_may_stand_before_the_first_line() {
    assert_eq!(found(SHIPPED, "#![no_std]\n//! The log.\n"), []);
    assert_eq!(found(SHIPPED, "#![no_std]\nuse a;\n"), [(Rule::FirstLine, 2)]);
}

#[test]
fn a_line_of_a_hundred_columns_is_the_widest_in_tests_too() {
    for path in [SHIPPED, TEST] {
        let widest = format!("//! ä{}\n", "x".repeat(95));
        assert_eq!(found(path, &widest), [], "columns are characters, not bytes");
        let wider = format!("//! ä{}\n", "x".repeat(96));
        assert_eq!(found(path, &wider), [(Rule::LineWidth, 1)]);
    }
}

#[test]
fn a_file_of_601_lines_of_code_is_too_long_unless_it_is_a_test() {
    let text = |lines| format!("//! Long.\n\n{}", "x!();\n// why\n".repeat(lines));
    assert_eq!(found(SHIPPED, &text(600)), []);
    assert_eq!(found(SHIPPED, &text(601)), [(Rule::FileLines, 0)]);
    assert_eq!(found(TEST, &text(601)), []);
    assert_eq!(found("crates/raft-core/src/log/tests.rs", &text(601)), []);
}

#[test]
fn the_examples_everybody_copies_stay_under_sixty_lines() {
    let text = |lines| format!("//! Long.\n{}", "x!();\n".repeat(lines));
    for path in ["examples/kv.rs", "examples/your_state_machine_in_the_simulator.rs"] {
        assert_eq!(found(path, &text(60)), []);
        assert_eq!(found(path, &text(61)), [(Rule::FileLines, 0)]);
    }
}

#[test]
fn a_function_of_71_lines_is_named() {
    let text = |lines| format!("//! Long.\nfn long() {{\n{}}}\n", "x!();\n".repeat(lines));
    assert_eq!(found(SHIPPED, &text(70)), []);
    let findings = check(&File::new(SHIPPED, text(71).as_bytes()));
    assert_eq!(findings.len(), 1);
    assert_eq!((findings[0].rule, findings[0].line), (Rule::FunctionLines, 2));
    assert_eq!(findings[0].item, "long", "the ratchet can list it by its name");
}

#[test]
fn a_file_over_256_kib_is_found_whatever_it_holds() {
    assert_eq!(found("docs/trace.bin", &"x".repeat(256 * 1024)), []);
    assert_eq!(found("docs/trace.bin", &"x".repeat(256 * 1024 + 1)), [(Rule::FileBytes, 0)]);
}

#[test]
fn what_is_left_to_do_has_an_owner() {
    assert_eq!(found(SHIPPED, "//! A.\n// TODO: later\n"), [(Rule::Todo, 2)]);
    assert_eq!(found(SHIPPED, "//! A.\n/* FIXME() */\n"), [(Rule::Todo, 2)]);
    assert_eq!(found(SHIPPED, "//! A.\n// TODO(ada): spans\n"), []);
    assert_eq!(found(SHIPPED, "//! A.\nconst A: &str = \"TODO: x\";\n"), []);
}

#[test]
fn a_test_is_not_switched_off() {
    assert_eq!(found(TEST, "//! A.\n#[ignore = \"slow\"]\nfn t() {}\n"), [(Rule::Ignored, 2)]);
    assert_eq!(found(TEST, "//! A.\n// #[ignore]\nfn ignore() {}\n"), []);
}

#[test]
fn a_lint_is_expected_not_allowed() {
    assert_eq!(
        found(SHIPPED, "//! A.\n#![allow(x)]\n#[allow(y)]\nfn f() {}\n"),
        [(Rule::Lints, 2), (Rule::Lints, 3)]
    );
    assert_eq!(found(SHIPPED, "//! A.\n#[expect(x, reason = \"y\")]\nfn f() {}\n"), []);
}

#[test]
fn every_crate_obeys_the_lints_of_the_workspace() {
    let path = "crates/raft-core/Cargo.toml";
    assert_eq!(found(path, "[package]\n"), [(Rule::Lints, 0)]);
    assert_eq!(found(path, "[lints]\n[dependencies]\nworkspace = true\n"), [(Rule::Lints, 0)]);
    assert_eq!(found(path, "[lints]\nworkspace = true\n"), []);
}

#[test]
fn a_test_waits_for_an_event_not_for_a_while() {
    for call in ["std::thread::sleep(d)", "tokio::time::sleep (d).await", "sleep(d)"] {
        let text = format!("//! A.\nfn t() {{\n    {call};\n}}\n");
        assert_eq!(found(TEST, &text), [(Rule::Sleep, 3)], "{call}");
        assert_eq!(found("crates/raft-tests/src/lib.rs", &text), [(Rule::Sleep, 3)], "{call}");
        assert_eq!(found(SHIPPED, &text), [], "outside tests this is for clippy: {call}");
    }
    assert_eq!(found(TEST, "//! A.\nfn t() {\n    clock.sleep(d);\n}\n"), []);
}

#[test]
fn a_sleep_in_a_test_module_is_found_where_shipped_code_has_none() {
    let text = "//! A.\nfn f() {}\n#[cfg(test)]\nmod tests {\n    fn t() { sleep(d); }\n}\n";
    assert_eq!(found(SHIPPED, text), [(Rule::Sleep, 5)]);
}

const WRITE: &str = "//! A.\nfn write() { persist.into_persisted(); }\n";

fn receipts(files: &[(&str, &str)]) -> Vec<(String, usize)> {
    let files: Vec<File> =
        files.iter().map(|(path, text)| File::new(path, text.as_bytes())).collect();
    let findings = one_maker_of_receipts(&files);
    findings.into_iter().map(|finding| (finding.path, finding.line)).collect()
}

#[test]
fn receipts_have_one_maker() {
    let storage = ("crates/raft-storage/src/storage.rs", WRITE);
    assert_eq!(receipts(&[storage]), []);
    assert_eq!(receipts(&[storage, ("crates/raft-core/tests/paper.rs", WRITE)]), []);
    let host = "crates/raft-runtime/src/disk.rs";
    let by_path = "//! A.\nfn f() { map(Persist::into_persisted) }\n";
    assert_eq!(receipts(&[storage, (host, by_path)]), [(host.to_owned(), 2)]);
    let twice = "//! A.\nfn write() {\n    a.into_persisted();\n    b.into_persisted();\n}\n";
    assert_eq!(receipts(&[(storage.0, twice)]), [(storage.0.to_owned(), 4)]);
}

#[test]
fn a_house_without_a_maker_of_receipts_is_reported() {
    assert_eq!(receipts(&[]).len(), 1);
}

#[test]
fn asserts_of_tests_do_not_count_for_the_core() {
    let text = "//! A.\nfn f() { assert!(a); debug_assert_eq!(b, c); }\nfn g() {}\n#[cfg(test)]\n\
                mod tests {\n    fn t() { assert!(d); }\n}\n";
    let figure = assert_density(&[File::new(SHIPPED, text.as_bytes())]);
    assert!(figure.contains("2 asserts in 2 functions, 1.00 each"), "{figure}");
}
