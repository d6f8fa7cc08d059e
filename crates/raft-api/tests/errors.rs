//! The errors of the API against `errors.txt`: a line is the name without its prefix `Err` in
//! `EtcdError`, the number of the code, and the text.

use std::collections::BTreeSet;

use raft_api::EtcdError;
use raft_api::tonic::{Code, Status};

/// `member not enough started` and `too many requests` leave etcd as `Unknown`, by an oversight of
/// its error mapping. Here they carry the code that etcd declares for them: clients that read texts
/// see no difference, and clients that read codes learn more.
#[test]
fn every_error_has_the_code_and_text_that_clients_compare() {
    let mut seen = BTreeSet::new();
    for (line, error) in LIST.lines().zip(EtcdError::ALL) {
        let (name, rest) = line.split_once(' ').unwrap();
        let (code, text) = rest.split_once(' ').unwrap();
        assert_eq!(name.to_lowercase(), format!("err{error:?}").to_lowercase());
        assert_eq!(error.code(), Code::from_i32(code.parse().unwrap()), "{name}");
        assert_eq!(error.text(), text, "{name}");
        assert_eq!(error.to_string(), text, "{name}");
        assert!(seen.insert(text), "{name}: a text must name one error");
    }
    assert_eq!(LIST.lines().count(), EtcdError::ALL.len());
    assert_eq!(EtcdError::ALL.len(), 63);
}

#[test]
fn an_error_survives_the_way_over_a_status() {
    for &error in EtcdError::ALL {
        let status = Status::from(error);
        assert_eq!((status.code(), status.message()), (error.code(), error.text()));
        assert_eq!(EtcdError::from_status(&status), Some(error));
    }
}

#[test]
fn the_text_decides_whatever_the_code() {
    let status = Status::new(Code::Unknown, "etcdserver: too many requests");
    assert_eq!(EtcdError::from_status(&status), Some(EtcdError::TooManyRequests));
}

#[test]
fn a_text_that_only_resembles_an_error_is_none() {
    for text in ["", "no leader", "etcdserver: no leader ", "etcdserver: request timed out, or so"]
    {
        assert_eq!(EtcdError::from_status(&Status::unavailable(text)), None, "{text:?}");
    }
}

#[test]
fn only_losing_touch_with_the_cluster_leaves_a_write_in_doubt() {
    let ambiguous: Vec<_> = EtcdError::ALL.iter().filter(|error| error.is_ambiguous()).collect();
    assert_eq!(
        ambiguous,
        [
            &EtcdError::LeaderChanged,
            &EtcdError::Stopped,
            &EtcdError::Timeout,
            &EtcdError::TimeoutDueToLeaderFail,
            &EtcdError::TimeoutDueToConnectionLost,
            &EtcdError::Canceled,
            &EtcdError::DeadlineExceeded,
        ]
    );
}

const LIST: &str = include_str!("errors.txt");
