//! Compiles `proto/*.proto` into Rust and into a descriptor, without any tool outside of Cargo.
//!
//! protox parses, tonic-prost-build writes code. The descriptor keeps the names of the protocol;
//! the code gets names that Rust readers expect (see [`RUST_NAMES`]). Read next: `src/lib.rs`.

use std::env;
use std::error::Error;
use std::fs;
use std::path::Path;

use protox::prost::Message as _;
use tonic_prost_build::FileDescriptorSet;

fn main() -> Result<(), Box<dyn Error>> {
    announce_inputs();
    let mut files = protox::compile(PROTOS, ["proto"])?;
    fs::write(Path::new(&env::var("OUT_DIR")?).join("descriptor.bin"), descriptor(&files))?;
    rename_fields(&mut files);
    // Keys and values are shared, not copied, between the wire and the store.
    tonic_prost_build::configure().bytes(".").compile_fds(files)?;
    Ok(())
}

fn announce_inputs() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=proto");
}

/// The files without comments and positions: half the size, and nobody asks for them at run time.
fn descriptor(files: &FileDescriptorSet) -> Vec<u8> {
    let mut files = files.clone();
    for file in &mut files.file {
        file.source_code_info = None;
    }
    files.encode_to_vec()
}

/// Gives fields their Rust names. Names are not on the wire, so nothing else changes.
fn rename_fields(files: &mut FileDescriptorSet) {
    let messages = files.file.iter_mut().flat_map(|file| &mut file.message_type);
    for field in messages.flat_map(|message| &mut message.field) {
        for (protocol, rust) in RUST_NAMES {
            if field.name.as_deref() == Some(protocol) {
                field.name = Some(rust.to_owned());
            }
        }
    }
}

/// Fields whose names prost would spell `peer_ur_ls` and `client_ur_ls`.
const RUST_NAMES: [(&str, &str); 2] = [("peerURLs", "peer_urls"), ("clientURLs", "client_urls")];

/// Imports come along by themselves; these are the roots.
const PROTOS: [&str; 10] = [
    "kv.proto",
    "watch.proto",
    "lease.proto",
    "cluster.proto",
    "maintenance.proto",
    "auth.proto",
    "lock.proto",
    "election.proto",
    "health.proto",
    "membership.proto",
];
