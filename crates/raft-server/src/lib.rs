//! raftd: a replicated key-value store that speaks the etcd v3 API.
//!
//! **Contract.** Clients, scripts and manifests made for etcd work unchanged, or are told in one
//! sentence what is not supported yet.
//!
//! ```
//! use raft_server::config::Config;
//!
//! let arguments = ["--name=n1", "--initial-cluster=n1=http://localhost:2380"];
//! let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
//! let config = Config::parse(&arguments, &[]).expect("a right command line");
//! assert_eq!(config.data_dir.to_str(), Some("n1.etcd"), "defaults are etcd's");
//! ```
//!
//! **Map.** [`command`] reads the command line. Serving: [`config`], [`identity`], [`join`],
//! [`server`], [`member`], [`troubles`], [`logging`], [`http`], [`metrics`], [`shutdown`]. Backups:
//! [`backup`] streams one, [`restore`] makes the data directory of a new cluster from it. Trying
//! out: [`dev`] runs a cluster on this machine, [`demo`] kills its leaders under load and judges
//! what clients were promised; both stand on [`cluster`], which supervises child processes.
//!
//! **Caveats.** TLS, users and roles are not supported yet; a flag that asks for them is refused.

#[cfg(raft_mutants)]
compile_error!("known bugs are compiled in: this is no build to run");

pub mod api;
pub mod backup;
pub mod clock;
pub mod cluster;
pub mod command;
pub mod config;
pub mod convert;
pub mod counted;
pub mod demo;
pub mod dev;
pub mod flags;
pub mod grpc;
pub mod http;
pub mod identity;
pub mod join;
pub mod logging;
pub mod machine;
pub mod member;
pub mod metrics;
pub mod restore;
pub mod server;
pub mod shutdown;
pub mod troubles;
