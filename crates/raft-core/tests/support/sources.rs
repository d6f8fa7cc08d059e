//! The sources as text: which names they use a macro with.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every file below a folder with one of these endings.
pub(crate) fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder can be listed") {
            let path = entry.expect("a folder can be listed").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == ending) {
                found.push(path);
            }
        }
    }
    found
}

/// The names that the sources of these crates give to a macro.
pub(crate) fn used(name: &str, crates: &[&str]) -> BTreeSet<String> {
    let opening = format!("{name}!(\"");
    let mut found = BTreeSet::new();
    for path in crates.iter().map(|name| repository().join("crates").join(name).join("src")) {
        for path in files(&path, "rs") {
            let text = fs::read_to_string(path).expect("it can be read");
            let after = text.split(&opening).skip(1);
            found.extend(after.filter_map(|rest| rest.split('"').next().map(str::to_owned)));
        }
    }
    found
}
