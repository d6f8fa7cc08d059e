//! raftctl: the command line of raftd.
