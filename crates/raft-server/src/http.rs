//! The HTTP/1.1 side of the client port: `/health`, `/livez`, `/readyz`, `/version`, `/metrics`.
//!
//! * Paths, codes, headers and bodies are etcd's to the byte: probes compare them.
//! * GET only; 405 for every other method, 404 for every other path.
//! * Checks ask the server through [`Health`], never through its API: they need no permission, and
//!   an empty key is no fault here.
//!
//! Read next: `metrics.rs`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http::{Method, Response, StatusCode, Uri};
use http_body_util::Full;
use serde_json::json;

use crate::config::ETCD_VERSION;
use crate::metrics::{self, Metrics};

/// What the operations endpoints ask of the server.
pub trait Health: Send + Sync + 'static {
    /// Reads through a quorum (§8). An error is its text, as clients would see it.
    fn linearizable_read(&self) -> impl Future<Output = Result<(), String>> + Send;

    /// Reads from the local state machine.
    fn serializable_read(&self) -> impl Future<Output = Result<(), String>> + Send;

    /// Whether this member knows a leader.
    fn has_leader(&self) -> bool;

    /// Whether this member is a learner.
    fn is_learner(&self) -> bool;

    /// Alarms that are raised on any member.
    fn alarms(&self) -> BTreeSet<Alarm>;

    /// The version the cluster as a whole runs, such as 3.6.0, once it is decided.
    fn cluster_version(&self) -> Option<String>;

    /// The version of the stored data, once it is known.
    fn storage_version(&self) -> Option<String>;
}

/// A condition that needs an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Alarm {
    /// The quota is used up.
    NoSpace,
    /// Members hold different data.
    Corrupt,
}

impl Alarm {
    /// Its name in the protocol.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoSpace => "NOSPACE",
            Self::Corrupt => "CORRUPT",
        }
    }
}

/// Answers requests of HTTP that are not gRPC.
#[derive(Debug)]
pub struct Operations<H> {
    health: H,
    metrics: Arc<Metrics>,
    read_timeout: Duration,
}

impl<H: Health> Operations<H> {
    /// Answers for this server. A check that has not answered within `read_timeout` has failed.
    pub fn new(health: H, metrics: Arc<Metrics>, read_timeout: Duration) -> Self {
        Self { health, metrics, read_timeout }
    }

    /// Answers one request; its body does not matter.
    pub async fn answer(&self, method: &Method, uri: &Uri) -> Response<Full<Bytes>> {
        let query = Query::parse(uri.query().unwrap_or_default());
        let path = uri.path();
        let Some(endpoint) = Endpoint::parse(path) else {
            return plain(StatusCode::NOT_FOUND, "404 page not found\n".to_owned());
        };
        if method != Method::GET {
            let mut refusal =
                plain(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n".to_owned());
            refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
            return refusal;
        }
        match endpoint {
            Endpoint::Health => self.health(&query).await,
            Endpoint::Checks(kind, checks) => self.checks(kind, &checks, &query).await,
            Endpoint::Version => self.version(),
            Endpoint::Metrics => respond(metrics::CONTENT_TYPE, self.metrics.render()),
        }
    }

    async fn health(&self, query: &Query) -> Response<Full<Bytes>> {
        let is_serializable = query.value("serializable") == Some("true");
        let outcome = self.overall(is_serializable, &query.values("exclude")).await;
        let is_healthy = outcome.is_ok();
        let reason = outcome.err().unwrap_or_default();
        // Written by hand because the order of the two fields is part of the interface.
        let body = format!("{{\"health\":\"{is_healthy}\",\"reason\":{}}}", json!(reason));
        if is_healthy {
            self.metrics.health_success.inc();
            return respond(TEXT, body);
        }
        self.metrics.health_failures.inc();
        tracing::warn!(reason, "health check failed");
        plain(StatusCode::SERVICE_UNAVAILABLE, body + "\n")
    }

    /// Alarms, then the leader, then a read: the first that fails is the reason.
    async fn overall(
        &self,
        is_serializable: bool,
        excluded: &BTreeSet<&str>,
    ) -> Result<(), String> {
        let alarms = self.health.alarms();
        if let Some(alarm) = alarms.iter().find(|alarm| !excluded.contains(alarm.name())) {
            return Err(format!("ALARM {}", alarm.name()));
        }
        if !is_serializable && !self.health.has_leader() {
            return Err("RAFT NO LEADER".to_owned());
        }
        let check = if is_serializable { Check::SerializableRead } else { Check::LinearizableRead };
        self.run(check).await.map_err(|error| format!("RANGE ERROR:{error}"))
    }

    async fn checks(
        &self,
        kind: &'static str,
        checks: &[Check],
        query: &Query,
    ) -> Response<Full<Bytes>> {
        let excluded = query.values("exclude");
        let (mut details, mut is_passed) = (String::new(), true);
        for check in checks.iter().filter(|check| !excluded.contains(check.name())) {
            let name = check.name();
            let outcome = self.run(*check).await;
            let status = if outcome.is_ok() { "success" } else { "error" };
            self.metrics.healthcheck.at(&[kind, name]).set_flag(outcome.is_ok());
            self.metrics.healthchecks.at(&[kind, name, status]).inc();
            // Writing into a string cannot fail.
            match outcome {
                Ok(()) => _ = writeln!(details, "[+]{name} ok"),
                Err(error) => {
                    is_passed = false;
                    _ = writeln!(details, "[-]{name} failed: {error}");
                }
            }
        }
        if !is_passed {
            tracing::warn!(path = kind, details = details.trim_end(), "health check failed");
            return plain(StatusCode::SERVICE_UNAVAILABLE, details + "\n");
        }
        if query.value("verbose").is_none() {
            details.clear();
        }
        plain(StatusCode::OK, details + "ok\n")
    }

    async fn run(&self, check: Check) -> Result<(), String> {
        match check {
            Check::DataCorruption if self.health.alarms().contains(&Alarm::Corrupt) => {
                Err("alarm activated: CORRUPT".to_owned())
            }
            Check::NonLearner if self.health.is_learner() => {
                Err("this member is a learner".to_owned())
            }
            Check::DataCorruption | Check::NonLearner => Ok(()),
            Check::SerializableRead => self.in_time(self.health.serializable_read()).await,
            Check::LinearizableRead => self.in_time(self.health.linearizable_read()).await,
        }
    }

    async fn in_time(&self, read: impl Future<Output = Result<(), String>>) -> Result<(), String> {
        let answer = tokio::time::timeout(self.read_timeout, read).await;
        answer.unwrap_or_else(|_| Err("context deadline exceeded".to_owned()))
    }

    fn version(&self) -> Response<Full<Bytes>> {
        let cluster = self.health.cluster_version();
        let cluster = json!(cluster.as_deref().unwrap_or("not_decided"));
        let storage = self.health.storage_version();
        let storage = json!(storage.as_deref().unwrap_or("unknown"));
        let server = json!(ETCD_VERSION);
        let body =
            format!("{{\"etcdserver\":{server},\"etcdcluster\":{cluster},\"storage\":{storage}}}");
        respond("application/json", body)
    }
}

/// A path that is answered.
enum Endpoint {
    Health,
    Checks(&'static str, Vec<Check>),
    Version,
    Metrics,
}

impl Endpoint {
    fn parse(path: &str) -> Option<Self> {
        match path {
            "/health" => return Some(Self::Health),
            "/version" => return Some(Self::Version),
            "/metrics" => return Some(Self::Metrics),
            _ => {}
        }
        let (kind, checks) = [("/livez", &LIVE[..]), ("/readyz", &READY)]
            .into_iter()
            .find(|(kind, _)| path.starts_with(kind))?;
        match path[kind.len()..].strip_prefix('/') {
            None if path == kind => Some(Self::Checks(kind, checks.to_vec())),
            None => None,
            Some(name) => {
                let check = checks.iter().find(|check| check.name() == name)?;
                Some(Self::Checks(kind, vec![*check]))
            }
        }
    }
}

/// One question about this member.
#[derive(Clone, Copy, Debug)]
enum Check {
    DataCorruption,
    SerializableRead,
    LinearizableRead,
    NonLearner,
}

impl Check {
    const fn name(self) -> &'static str {
        match self {
            Self::DataCorruption => "data_corruption",
            Self::SerializableRead => "serializable_read",
            Self::LinearizableRead => "linearizable_read",
            Self::NonLearner => "non_learner",
        }
    }
}

/// What must be well for this process to be left running.
const LIVE: [Check; 1] = [Check::SerializableRead];

/// What must be well for clients to be sent here.
const READY: [Check; 4] =
    [Check::DataCorruption, Check::SerializableRead, Check::LinearizableRead, Check::NonLearner];

/// The query of a URL, decoded.
struct Query(Vec<(String, String)>);

impl Query {
    fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name), decoded(value))
        });
        Self(pairs.collect())
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn values(&self, name: &str) -> BTreeSet<&str> {
        let pairs = self.0.iter().filter(|(known, _)| known == name);
        pairs.map(|(_, value)| value.as_str()).collect()
    }
}

/// Undoes `%41` and `+`; what is no escape stays as it is.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let escape = (*byte == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        let escape = escape.filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        if let Some(code) = escape.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            plain.push(code);
            at += 3;
        } else {
            plain.push(if *byte == b'+' { b' ' } else { *byte });
            at += 1;
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

/// A text that a browser must not take for anything else.
fn plain(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = respond(TEXT, body);
    *response.status_mut() = status;
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn respond(content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

const TEXT: &str = "text/plain; charset=utf-8";

#[cfg(test)]
mod tests;
