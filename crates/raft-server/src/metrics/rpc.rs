//! Calls of clients, counted by service, method and code under the names of Go's gRPC middleware.
//!
//! The methods come from the protocol's own description, so none can be missing. All series exist
//! from the start: an alert on the rate of failures sees the first failure. Read next:
//! `metrics/series.rs`.

use std::collections::BTreeMap;

use raft_api::prost::Message;
use raft_api::tonic::Code;

use super::exposition::{Exposition, MetricKind};
use super::series::{Counter, Series as _};

/// Counters for every method of the API.
#[derive(Debug)]
pub struct RpcMetrics {
    /// By path, such as `/etcdserverpb.KV/Put`.
    methods: BTreeMap<String, MethodMetrics>,
}

/// Counters of one method.
#[derive(Debug)]
pub struct MethodMetrics {
    service: String,
    method: String,
    kind: &'static str,
    /// Calls that began.
    pub started: Counter,
    /// Messages received from clients.
    pub received: Counter,
    /// Messages sent to clients.
    pub sent: Counter,
    /// Calls that ended, by code.
    handled: [Counter; CODES.len()],
}

impl MethodMetrics {
    /// Counts one call that ended with this code.
    pub fn handled(&self, code: Code) {
        let mut counters = CODES.iter().zip(&self.handled);
        if let Some((_, counter)) = counters.find(|((known, _), _)| *known == code) {
            counter.inc();
        }
    }

    fn labels(&self) -> [(&str, &str); 3] {
        [("grpc_method", &self.method), ("grpc_service", &self.service), ("grpc_type", self.kind)]
    }
}

impl RpcMetrics {
    /// All methods of the API, at zero.
    pub(super) fn new() -> Self {
        let files = FileSet::decode(raft_api::FILE_DESCRIPTOR_SET);
        let files = files.expect("the description of the protocol is made with the crate");
        let mut methods = BTreeMap::new();
        for file in files.files {
            for service in file.services {
                let name = format!("{}.{}", file.package, service.name);
                for method in service.methods {
                    let path = format!("/{name}/{}", method.name);
                    methods.insert(path, method.metrics(&name));
                }
            }
        }
        Self { methods }
    }

    /// The counters of a method by its path, such as `/etcdserverpb.KV/Put`; `None` for a path that
    /// is no method, which a client may send.
    pub fn method(&self, path: &str) -> Option<&MethodMetrics> {
        self.methods.get(path)
    }

    /// Writes the four families.
    pub(super) fn render(&self, out: &mut Exposition) {
        let name = "grpc_server_started_total";
        out.head(name, "Total number of RPCs started on the server.", MetricKind::Counter);
        for method in self.methods.values() {
            method.started.write(name, &method.labels(), out);
        }
        let name = "grpc_server_msg_received_total";
        let help = "Total number of RPC stream messages received on the server.";
        out.head(name, help, MetricKind::Counter);
        for method in self.methods.values() {
            method.received.write(name, &method.labels(), out);
        }
        let name = "grpc_server_msg_sent_total";
        let help = "Total number of gRPC stream messages sent by the server.";
        out.head(name, help, MetricKind::Counter);
        for method in self.methods.values() {
            method.sent.write(name, &method.labels(), out);
        }
        let name = "grpc_server_handled_total";
        let help =
            "Total number of RPCs completed on the server, regardless of success or failure.";
        out.head(name, help, MetricKind::Counter);
        for method in self.methods.values() {
            for ((_, code), counter) in CODES.iter().zip(&method.handled) {
                let [name_label, service, kind] = method.labels();
                let labels = [("grpc_code", *code), name_label, service, kind];
                counter.write(name, &labels, out);
            }
        }
    }
}

/// Codes with the names that Go gives them.
const CODES: [(Code, &str); 17] = [
    (Code::Ok, "OK"),
    (Code::Cancelled, "Canceled"),
    (Code::Unknown, "Unknown"),
    (Code::InvalidArgument, "InvalidArgument"),
    (Code::DeadlineExceeded, "DeadlineExceeded"),
    (Code::NotFound, "NotFound"),
    (Code::AlreadyExists, "AlreadyExists"),
    (Code::PermissionDenied, "PermissionDenied"),
    (Code::ResourceExhausted, "ResourceExhausted"),
    (Code::FailedPrecondition, "FailedPrecondition"),
    (Code::Aborted, "Aborted"),
    (Code::OutOfRange, "OutOfRange"),
    (Code::Unimplemented, "Unimplemented"),
    (Code::Internal, "Internal"),
    (Code::Unavailable, "Unavailable"),
    (Code::DataLoss, "DataLoss"),
    (Code::Unauthenticated, "Unauthenticated"),
];

// The parts of google/protobuf/descriptor.proto that name services and methods.

#[derive(Clone, PartialEq, Message)]
#[prost(prost_path = "raft_api::prost")]
struct FileSet {
    #[prost(message, repeated, tag = "1")]
    files: Vec<File>,
}

#[derive(Clone, PartialEq, Message)]
#[prost(prost_path = "raft_api::prost")]
struct File {
    #[prost(string, tag = "2")]
    package: String,
    #[prost(message, repeated, tag = "6")]
    services: Vec<Service>,
}

#[derive(Clone, PartialEq, Message)]
#[prost(prost_path = "raft_api::prost")]
struct Service {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, repeated, tag = "2")]
    methods: Vec<Method>,
}

#[derive(Clone, PartialEq, Message)]
#[prost(prost_path = "raft_api::prost")]
struct Method {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(bool, tag = "5")]
    client_streaming: bool,
    #[prost(bool, tag = "6")]
    server_streaming: bool,
}

impl Method {
    fn metrics(self, service: &str) -> MethodMetrics {
        let kind = match (self.client_streaming, self.server_streaming) {
            (false, false) => "unary",
            (true, false) => "client_stream",
            (false, true) => "server_stream",
            (true, true) => "bidi_stream",
        };
        MethodMetrics {
            service: service.to_owned(),
            method: self.name,
            kind,
            started: Counter::new(),
            received: Counter::new(),
            sent: Counter::new(),
            handled: std::array::from_fn(|_| Counter::new()),
        }
    }
}
