//! Carries Raft messages between nodes over framed TCP.
