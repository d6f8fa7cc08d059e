//! Runs a Raft node in the real world: one handle to propose and read through.
