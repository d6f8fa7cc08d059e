//! Tests of the operations endpoints against a server that is as well as the test says.

use http_body_util::BodyExt as _;

use super::*;

/// A server of which everything is known in advance.
#[derive(Default)]
struct Patient {
    has_no_leader: bool,
    is_learner: bool,
    alarms: Vec<Alarm>,
    linearizable_error: Option<&'static str>,
    serializable_error: Option<&'static str>,
    hangs: bool,
    version: Option<&'static str>,
}

impl Health for Patient {
    async fn linearizable_read(&self) -> Result<(), String> {
        if self.hangs {
            std::future::pending::<()>().await;
        }
        self.linearizable_error.map_or(Ok(()), |error| Err(error.to_owned()))
    }

    async fn serializable_read(&self) -> Result<(), String> {
        self.serializable_error.map_or(Ok(()), |error| Err(error.to_owned()))
    }

    fn has_leader(&self) -> bool {
        !self.has_no_leader
    }

    fn is_learner(&self) -> bool {
        self.is_learner
    }

    fn alarms(&self) -> BTreeSet<Alarm> {
        self.alarms.iter().copied().collect()
    }

    fn cluster_version(&self) -> Option<String> {
        self.version.map(str::to_owned)
    }

    fn storage_version(&self) -> Option<String> {
        self.version.map(str::to_owned)
    }
}

/// An answer as a client sees it.
struct Answer {
    code: u16,
    body: String,
    headers: http::HeaderMap,
    metrics: Arc<Metrics>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

fn ask(patient: Patient, method: &Method, path: &str) -> Answer {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let metrics = Arc::new(Metrics::new());
    let operations = Operations::new(patient, Arc::clone(&metrics), Duration::from_millis(1));
    runtime.block_on(async {
        let answer = operations.answer(method, &path.parse().unwrap()).await;
        let (head, body) = answer.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let body = String::from_utf8(body.to_vec()).unwrap();
        Answer { code: head.status.as_u16(), body, headers: head.headers, metrics }
    })
}

fn get(patient: Patient, path: &str) -> Answer {
    ask(patient, &Method::GET, path)
}

fn seen(patient: Patient, path: &str) -> (u16, String) {
    let answer = get(patient, path);
    (answer.code, answer.body)
}

fn well() -> Patient {
    Patient::default()
}

/// A healthy member says so in exactly these bytes.
#[test]
fn health_of_a_healthy_member() {
    let answer = get(well(), "/health");
    assert_eq!((answer.code, answer.body.as_str()), (200, r#"{"health":"true","reason":""}"#));
    assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(answer.metrics.health_success.value(), 1);
    assert_eq!(answer.metrics.health_failures.value(), 0);
}

/// The first thing that is wrong is the reason: alarm, leader, read; each can be looked past.
#[test]
fn health_of_an_ill_member() {
    let ill = || Patient {
        alarms: vec![Alarm::NoSpace],
        has_no_leader: true,
        linearizable_error: Some("etcdserver: request timed out"),
        ..well()
    };
    let reason = |text: &str| (503, format!("{{\"health\":\"false\",\"reason\":\"{text}\"}}\n"));
    let answer = get(ill(), "/health");
    assert_eq!((answer.code, answer.body.clone()), reason("ALARM NOSPACE"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(answer.metrics.health_failures.value(), 1);

    assert_eq!(seen(ill(), "/health?exclude=NOSPACE"), reason("RAFT NO LEADER"));
    assert_eq!(seen(ill(), "/health?serializable=true&exclude=NOSPACE").0, 200);
    assert_eq!(
        seen(Patient { has_no_leader: false, alarms: vec![], ..ill() }, "/health"),
        reason("RANGE ERROR:etcdserver: request timed out")
    );
    let both = Patient { alarms: vec![Alarm::NoSpace, Alarm::Corrupt], ..well() };
    assert_eq!(seen(both, "/health?exclude=NOSPACE"), reason("ALARM CORRUPT"));
    let both = Patient { alarms: vec![Alarm::NoSpace, Alarm::Corrupt], ..well() };
    assert_eq!(seen(both, "/health?exclude=NOSPACE&exclude=COR%52UPT").0, 200);
}

/// A reason with quotes stays valid JSON.
#[test]
fn reasons_are_escaped() {
    let ill = Patient { linearizable_error: Some("a \"b\"\n"), ..well() };
    let (_, body) = seen(ill, "/health");
    let value: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(value["reason"], "RANGE ERROR:a \"b\"\n");
}

/// Live means that the local state answers, whatever became of the cluster.
#[test]
fn livez_asks_the_local_state_only() {
    let cut_off = || Patient {
        has_no_leader: true,
        is_learner: true,
        linearizable_error: Some("no quorum"),
        ..well()
    };
    assert_eq!(seen(cut_off(), "/livez"), (200, "ok\n".into()));
    assert_eq!(seen(cut_off(), "/livez?verbose"), (200, "[+]serializable_read ok\nok\n".into()));
    assert_eq!(seen(cut_off(), "/livez/serializable_read"), (200, "ok\n".into()));
    let dead = Patient { serializable_error: Some("stopped"), ..well() };
    assert_eq!(seen(dead, "/livez"), (503, "[-]serializable_read failed: stopped\n\n".into()));
}

/// Ready means all four checks; a failure lists them all, unasked.
#[test]
fn readyz_lists_every_check() {
    assert_eq!(
        seen(well(), "/readyz?verbose"),
        (
            200,
            "[+]data_corruption ok\n[+]serializable_read ok\n[+]linearizable_read ok\n\
             [+]non_learner ok\nok\n"
                .into()
        )
    );
    let ill = || Patient {
        alarms: vec![Alarm::NoSpace, Alarm::Corrupt],
        is_learner: true,
        linearizable_error: Some("etcdserver: no leader"),
        ..well()
    };
    let answer = get(ill(), "/readyz");
    assert_eq!(answer.code, 503);
    assert_eq!(
        answer.body,
        "[-]data_corruption failed: alarm activated: CORRUPT\n[+]serializable_read ok\n\
         [-]linearizable_read failed: etcdserver: no leader\n\
         [-]non_learner failed: this member is a learner\n\n"
    );
    let failed = answer.metrics.healthchecks.at(&["/readyz", "linearizable_read", "error"]);
    assert_eq!(failed.value(), 1);

    let excluded = "exclude=data_corruption&exclude=linearizable_read&exclude=non_learner";
    assert_eq!(seen(ill(), &format!("/readyz?{excluded}&exclude=nonsense")).0, 200);
    assert_eq!(seen(ill(), "/readyz/non_learner").0, 503);
    assert_eq!(seen(well(), "/readyz/non_learner?verbose").1, "[+]non_learner ok\nok\n");
    let full = Patient { alarms: vec![Alarm::NoSpace], ..well() };
    assert_eq!(seen(full, "/readyz").0, 200, "a full store still answers reads");
}

/// A read that never answers fails the check instead of hanging the probe.
#[test]
fn a_hanging_read_is_a_failure() {
    let hanging = Patient { hangs: true, ..well() };
    assert_eq!(
        seen(hanging, "/readyz/linearizable_read"),
        (503, "[-]linearizable_read failed: context deadline exceeded\n\n".into())
    );
}

/// The version is etcd's JSON; what is not decided yet is named so.
#[test]
fn the_version_is_json() {
    let answer = get(Patient { version: Some("3.6.0"), ..well() }, "/version");
    assert_eq!(answer.body, r#"{"etcdserver":"3.6.14","etcdcluster":"3.6.0","storage":"3.6.0"}"#);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(
        seen(well(), "/version").1,
        r#"{"etcdserver":"3.6.14","etcdcluster":"not_decided","storage":"unknown"}"#
    );
}

/// Metrics are text of the version that Prometheus negotiates.
#[test]
fn metrics_are_served() {
    let answer = get(well(), "/metrics");
    assert_eq!(answer.code, 200);
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert!(answer.body.contains("\netcd_server_has_leader 0\n"));
}

/// Only GET is answered, and only where something is.
#[test]
fn other_methods_and_paths_are_refused() {
    for path in ["/health", "/livez", "/readyz/non_learner", "/version", "/metrics"] {
        let answer = ask(well(), &Method::POST, path);
        assert_eq!((answer.code, answer.body.as_str()), (405, "Method Not Allowed\n"), "{path}");
        assert_eq!(answer.header("allow"), Some("GET"));
    }
    for path in ["/", "/healthz", "/livezz", "/livez/", "/livez/linearizable_read", "/v3/kv/put"] {
        assert_eq!(seen(well(), path), (404, "404 page not found\n".into()), "{path}");
    }
}
