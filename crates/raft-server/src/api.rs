//! The services of etcd's API that this server has, each a thin layer over `Member`.

mod cluster;
mod health;
mod kv;
mod maintenance;
mod membership;

use std::sync::Arc;

use raft_api::tonic::Status;

use crate::member::Member;

/// The implementation of every service: one value, shared by all connections.
#[derive(Clone, Debug)]
pub struct Api(pub(crate) Arc<Member>);

/// A method of the API that this version does not have.
fn unsupported(method: &str) -> Status {
    Status::unimplemented(format!("{method} is not supported by this version of raftd"))
}
