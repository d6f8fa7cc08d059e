//! The etcd v3 API: protocol definitions and generated types.
