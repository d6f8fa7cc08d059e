//! One request of the client port: gRPC to its service, the rest to the operations endpoints.
//!
//! * What is gRPC is told by the content type, as etcd does, so one port answers both.
//! * Calls are counted by method and code, under the names of Go's middleware.
//! * What tonic says in its own words is said in those of Go's gRPC, because clients compare them.
//!
//! Read next: `api/kv.rs`.

use std::convert::Infallible;
use std::sync::Arc;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Request, Response};
use hyper::body::Incoming;
use raft_api::EtcdError;
use raft_api::etcdserverpb::cluster_server::ClusterServer;
use raft_api::etcdserverpb::kv_server::KvServer;
use raft_api::etcdserverpb::maintenance_server::MaintenanceServer;
use raft_api::health::health_server::HealthServer;
use raft_api::membership::membership_server::MembershipServer;
use raft_api::tonic::body::Body;
use raft_api::tonic::{Code, Status};
use tower_service::Service as _;

use crate::api::Api;
use crate::http::Operations;
use crate::member::Member;

/// Everything behind the client port. Clones are cheap and share all state.
#[derive(Clone, Debug)]
pub struct Router {
    member: Arc<Member>,
    kv: KvServer<Api>,
    cluster: ClusterServer<Api>,
    maintenance: MaintenanceServer<Api>,
    health: HealthServer<Api>,
    membership: MembershipServer<Api>,
    operations: Arc<Operations<Api>>,
}

/// Room for what surrounds a request of the largest size.
const MESSAGE_OVERHEAD_BYTES: u64 = 512 << 10;

impl Router {
    /// The services of a member.
    pub fn new(member: Arc<Member>) -> Self {
        let api = Arc::new(Api(Arc::clone(&member)));
        let bytes_max = member.config.max_request_bytes.saturating_add(MESSAGE_OVERHEAD_BYTES);
        let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        let metrics = Arc::clone(&member.metrics);
        let timeout = member.check_timeout();
        Self {
            kv: KvServer::from_arc(Arc::clone(&api))
                .max_decoding_message_size(bytes_max)
                .max_encoding_message_size(usize::MAX),
            cluster: ClusterServer::from_arc(Arc::clone(&api)),
            maintenance: MaintenanceServer::from_arc(Arc::clone(&api)),
            health: HealthServer::from_arc(Arc::clone(&api)),
            membership: MembershipServer::from_arc(Arc::clone(&api)),
            operations: Arc::new(Operations::new(Api(Arc::clone(&member)), metrics, timeout)),
            member,
        }
    }

    /// Everything measured.
    pub fn metrics(&self) -> Arc<crate::metrics::Metrics> {
        Arc::clone(&self.member.metrics)
    }

    /// Answers one request.
    pub async fn answer(&mut self, request: Request<Incoming>) -> Response<Body> {
        if !is_grpc(request.headers()) {
            if request.uri().path() == "/metrics" {
                self.member.refresh_metrics();
            }
            let answer = self.operations.answer(request.method(), request.uri()).await;
            return answer.map(Body::new);
        }
        let path = request.uri().path().to_owned();
        let metrics = Arc::clone(&self.member.metrics);
        let method = metrics.rpc.method(&path);
        if let Some(method) = method {
            method.started.inc();
            method.received.inc();
        }
        let mut answer = self.call(&path, request).await;
        speak_like_go(answer.headers_mut());
        if let Some(method) = method {
            // An error of a unary call stands in the headers; a success in the trailers.
            let code = answer
                .headers()
                .get(GRPC_STATUS)
                .map_or(Code::Ok, |code| Code::from_bytes(code.as_bytes()));
            if code == Code::Ok {
                method.sent.inc();
            }
            method.handled(code);
        }
        answer
    }

    async fn call(&mut self, path: &str, request: Request<Incoming>) -> Response<Body> {
        let named = path.strip_prefix('/').unwrap_or(path).rsplit_once('/');
        let Some((service, method)) = named else {
            let text = format!("malformed method name: {path:?}");
            return Status::unimplemented(text).into_http();
        };
        let is_known = self.member.metrics.rpc.method(path).is_some();
        let answer: Result<Response<Body>, Infallible> = match service {
            "etcdserverpb.KV"
            | "etcdserverpb.Cluster"
            | "etcdserverpb.Maintenance"
            | "grpc.health.v1.Health"
            | "raft.v1.Membership"
                if !is_known =>
            {
                let text = format!("unknown method {method} for service {service}");
                Ok(Status::unimplemented(text).into_http())
            }
            "etcdserverpb.KV" => self.kv.call(request).await,
            "etcdserverpb.Cluster" => self.cluster.call(request).await,
            "etcdserverpb.Maintenance" => self.maintenance.call(request).await,
            "grpc.health.v1.Health" => self.health.call(request).await,
            "raft.v1.Membership" => self.membership.call(request).await,
            _ if is_known => {
                let text = format!("{service}/{method} is not supported by this version of raftd");
                Ok(Status::unimplemented(text).into_http())
            }
            _ => Ok(Status::unimplemented(format!("unknown service {service}")).into_http()),
        };
        match answer {
            Ok(answer) => answer,
            Err(never) => match never {},
        }
    }
}

const GRPC_STATUS: &str = "grpc-status";
const GRPC_MESSAGE: &str = "grpc-message";

fn is_grpc(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    value.is_some_and(|value| value.starts_with(b"application/grpc"))
}

/// Says in Go's code and words what tonic says in its own.
fn speak_like_go(headers: &mut HeaderMap) {
    if !headers.contains_key(GRPC_MESSAGE) {
        return;
    }
    let said = Status::from_header_map(headers).and_then(|status| in_words_of_go(&status));
    if let Some(said) = said {
        // An HTTP header can hold it, because percent encoding makes it one.
        let _ = said.add_header(headers);
    }
}

/// What Go's gRPC says where tonic says `status`, if that is something else.
fn in_words_of_go(status: &Status) -> Option<Status> {
    if let Some((found, limit)) = too_large(status.message()) {
        let text = format!("grpc: received message larger than max ({found} vs. {limit})");
        return Some(Status::resource_exhausted(text));
    }
    let fault = status.message().strip_prefix("failed to decode Protobuf message: ")?;
    if fault.ends_with("recursion limit reached") {
        // Nothing else in the API contains itself.
        return Some(EtcdError::TooManyOps.into());
    }
    Some(Status::internal(format!("grpc: error unmarshalling request: {fault}")))
}

/// The two sizes in tonic's sentence about a message over the limit.
fn too_large(message: &str) -> Option<(u64, u64)> {
    let rest = message.strip_prefix("Error, decoded message length too large: found ")?;
    let (found, rest) = rest.split_once(" bytes, the limit is: ")?;
    let limit = rest.strip_suffix(" bytes")?;
    Some((found.parse().ok()?, limit.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// tonic's refusal of a large message is said in Go's code and words, whatever the sizes; other
    /// errors stay as they are.
    #[test]
    fn a_message_over_the_limit_is_refused_in_the_words_of_go() {
        let text = "Error, decoded message length too large: found 3000000 bytes, the limit is: \
                    2097152 bytes";
        let mut answer: Response<Body> = Status::out_of_range(text).into_http();
        speak_like_go(answer.headers_mut());
        assert_eq!(answer.headers()[GRPC_STATUS], "8");
        let status = Status::from_header_map(answer.headers()).expect("it is an error");
        assert_eq!(
            status.message(),
            "grpc: received message larger than max (3000000 vs. 2097152)"
        );

        let mut other: Response<Body> = Status::not_found("requested lease not found").into_http();
        let before = other.headers().clone();
        speak_like_go(other.headers_mut());
        assert_eq!(*other.headers(), before);
    }

    /// Bytes that are no message are refused in Go's code and words; a transaction that is nested
    /// deeper than any decoder here goes is one with too many operations.
    #[test]
    fn what_does_not_decode_is_refused_in_the_words_of_go() {
        use raft_api::etcdserverpb::{RangeRequest, RequestOp, TxnRequest, request_op::Request};
        use raft_api::prost::{DecodeError, Message as _};

        let said = |error: DecodeError| {
            let mut answer: Response<Body> = Status::internal(error.to_string()).into_http();
            speak_like_go(answer.headers_mut());
            Status::from_header_map(answer.headers()).expect("it is an error")
        };
        let status = said(RangeRequest::decode(&b"\x08\x01"[..]).expect_err("no key is a number"));
        assert_eq!(status.code(), Code::Internal);
        assert!(status.message().starts_with("grpc: error unmarshalling request: "), "{status}");

        let mut txn = TxnRequest::default();
        for _ in 0..60 {
            let request = Some(Request::RequestTxn(txn));
            txn = TxnRequest { success: vec![RequestOp { request }], ..TxnRequest::default() };
        }
        let status = said(TxnRequest::decode(&*txn.encode_to_vec()).expect_err("it is too deep"));
        assert_eq!(EtcdError::from_status(&status), Some(EtcdError::TooManyOps));
        assert_eq!(status.code(), Code::InvalidArgument);
    }
}
