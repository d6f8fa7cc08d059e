//! Every script tells the story it recorded; and the runner notices if one does not.
//!
//! `UPDATE_SCRIPTS=1 cargo test -p raft-sim` records all outcomes anew. `RAFT_MUTANT=R1` in a build
//! with `--cfg raft_mutants` puts a known bug back, and names the scripts that notice.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use raft_sim::Script;

fn scripts() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts");
    let mut found = Vec::new();
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the folder of scripts is there") {
            let path = entry.expect("a folder can be listed").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "script") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Switches on the known bug that the environment names, in builds that can have one.
fn select_mutant() {
    #[cfg(raft_mutants)]
    {
        let id = env::var("RAFT_MUTANT").ok();
        assert!(raft_core::mutants::select(id.as_deref()), "RAFT_MUTANT names no mutant");
    }
}

/// Each script is played; what happens is what was recorded, and no step breaks a safety property.
#[test]
fn every_script_tells_the_story_it_recorded() {
    select_mutant();
    let update = env::var_os("UPDATE_SCRIPTS").is_some();
    let scripts = scripts();
    assert!(scripts.len() >= 150, "only {} scripts are found", scripts.len());
    let told = |path: &PathBuf| {
        if update {
            Script::read(path)?.update()?;
        }
        Script::read(path)?.check()
    };
    let failures: Vec<String> =
        scripts.iter().filter_map(|path| told(path).err()).map(|error| error.to_string()).collect();
    assert!(
        failures.is_empty(),
        "{} of {} scripts differ; UPDATE_SCRIPTS=1 records them anew\n\n{}",
        failures.len(),
        scripts.len(),
        failures.join("\n")
    );
}

fn parse(text: &str) -> Script {
    Script::parse(Path::new("test.script"), text).expect("it reads as a script")
}

/// A command that does not exist is an error with file and line.
#[test]
fn an_unknown_command_is_an_error_with_file_and_line() {
    let error = parse("# A typing error.\n\n> cluster nodes=1\n> campain n1\n").play().unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("test.script:4: > campain n1: there is no such command"), "{text}");
}

/// An outcome that is not the recorded one is shown as a difference, with file and line.
#[test]
fn another_outcome_is_shown_as_a_difference() {
    let script = parse("# A wrong record.\n\n> cluster nodes=1\n> status\nn1@7 leader\n");
    let text = script.check().unwrap_err().to_string();
    assert!(text.starts_with("test.script:4: > status has another outcome"), "{text}");
    assert!(text.contains("- n1@7 leader\n+ n1@0 follower last=0@0"), "{text}");
}

/// Playing a script twice gives the same text, and that text passes.
#[test]
fn a_recorded_script_passes_and_keeps_its_prose() {
    let script = parse("# One node.\n\n> cluster nodes=1\n> elect n1\n# An end.\n");
    let played = script.play().expect("nothing is wrong with it");
    assert_eq!(played.to_string(), script.play().expect("nothing changed").to_string());
    parse(&played.to_string()).check().expect("it recorded what happens");
    assert!(played.to_string().ends_with("applied=1\n# An end.\n"), "{played}");
}

/// The judge is awake: an acknowledgement that no disk stands behind commits an entry without a
/// quorum, and the script fails whatever it recorded.
#[test]
fn a_forged_acknowledgement_breaks_the_durable_quorum() {
    let script = parse(
        "# A liar.\n\n> cluster nodes=3\n> elect n1\n> hold n1→n2\n> hold n1→n3\n\
         > propose n1 \"x\"\n> persist n1\n\
         > inject n2@1 → n1 AppendEntriesResponse match=2 accepted=2 round=1\n",
    );
    let text = script.play().unwrap_err().to_string();
    assert!(text.contains("commits 2@1, durable on 1 of 3 only"), "{text}");
}

/// The judge is awake: forged votes make a second leader of a term.
#[test]
fn forged_votes_break_election_safety() {
    let script = parse(
        "# A liar.\n\n> cluster nodes=3 pre-vote=off\n> campaign n1\n> campaign n2\n> persist all\n\
         > inject n3@1 → n1 RequestVoteResponse granted\n\
         > inject n3@1 → n2 RequestVoteResponse granted\n",
    );
    let text = script.play().unwrap_err().to_string();
    assert!(text.contains("Election Safety: n1 and n2 lead term 1"), "{text}");
}

/// What stands above the first command, or a script without a title, is refused.
#[test]
fn a_script_needs_a_title_and_commands_before_outcomes() {
    let read = |text| Script::parse(Path::new("test.script"), text).map(|_| ());
    assert!(read("> cluster nodes=1\n").unwrap_err().to_string().contains("begins with `# `"));
    let error = read("# A title.\nn1@0 follower\n").unwrap_err().to_string();
    assert!(error.starts_with("test.script:2: an outcome"), "{error}");
}
