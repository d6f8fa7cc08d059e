//! A multi-version key-value store as a pure state machine, with the semantics of etcd v3.
