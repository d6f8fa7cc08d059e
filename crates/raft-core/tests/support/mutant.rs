//! Puts a known bug into the code under test: `RAFT_MUTANT=R1` with `RUSTFLAGS="--cfg
//! raft_mutants"`. The test that fails then is the one that finds it. In ordinary builds this does
//! nothing.
//!
//! Read next: `docs/KNOWN_BUGS.md`.

/// Switches on what the environment names.
pub(crate) fn select() {
    #[cfg(raft_mutants)]
    {
        let id = std::env::var("RAFT_MUTANT").ok();
        assert!(raft_core::mutants::select(id.as_deref()), "RAFT_MUTANT names no mutant");
    }
}
