//! Every answer in every format.
//!
//! `simple` and `json` are fixed by scripts that exist; the tests below hold what etcd's own
//! command line printed for the same answers. Read next: `json.rs`.

mod backups;
mod logs;
mod members;

use core::time::Duration;

use raft_api::etcdserverpb::response_op::Response;
use raft_api::etcdserverpb::{
    CompactionResponse, DeleteRangeResponse, MemberListResponse, PutResponse, RangeResponse,
    ResponseHeader, StatusResponse, TxnResponse,
};
use raft_api::mvccpb::KeyValue;
use serde_json::Value;

use crate::endpoint::Endpoint;
use crate::json::{self, Object};
use crate::output::{Answer, Fields, Table, human_bytes, line, number, text};
use crate::quote::escaped;

pub(crate) use backups::{Action, Described};
pub(crate) use logs::Inspected;
pub(crate) use members::{Changed, Moved, Shown, Start};

/// The answer to a read, and what of it was asked for.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) response: RangeResponse,
    pub(crate) shape: Shape,
}

/// What of a read is printed in the format `simple`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Keys and values in turn.
    Pairs,
    /// Values only.
    Values,
    /// The number of keys.
    Count,
}

impl Answer for Got {
    fn simple(&self, out: &mut Vec<u8>) {
        match self.shape {
            Shape::Pairs => simple_pairs(&self.response.kvs, out),
            Shape::Values => self.response.kvs.iter().for_each(|kv| line(out, &kv.value)),
            Shape::Count => line(out, self.response.count.to_string()),
        }
    }

    fn json(&self) -> Value {
        json::range(&self.response)
    }

    fn fields(&self, out: &mut Fields) {
        range_fields(&self.response, out);
    }

    fn tables(&self) -> Vec<Table> {
        match self.shape {
            Shape::Pairs | Shape::Values => vec![pairs_table(&self.response.kvs)],
            Shape::Count => vec![count_table("COUNT", self.response.count)],
        }
    }
}

impl Answer for PutResponse {
    fn simple(&self, out: &mut Vec<u8>) {
        line(out, "OK");
        simple_pairs(self.prev_kv.as_slice(), out);
    }

    fn json(&self) -> Value {
        json::put(self)
    }

    fn fields(&self, out: &mut Fields) {
        out.header(self.header.as_ref());
        pairs_fields("Prev", self.prev_kv.as_slice(), out);
    }

    fn tables(&self) -> Vec<Table> {
        let revision = count_table("REVISION", revision(self.header.as_ref()));
        with_previous(revision, self.prev_kv.as_slice())
    }
}

impl Answer for DeleteRangeResponse {
    fn simple(&self, out: &mut Vec<u8>) {
        line(out, self.deleted.to_string());
        simple_pairs(&self.prev_kvs, out);
    }

    fn json(&self) -> Value {
        json::delete_range(self)
    }

    fn fields(&self, out: &mut Fields) {
        out.header(self.header.as_ref());
        out.plain("Deleted", self.deleted);
        pairs_fields("Prev", &self.prev_kvs, out);
    }

    fn tables(&self) -> Vec<Table> {
        with_previous(count_table("DELETED", self.deleted), &self.prev_kvs)
    }
}

impl Answer for TxnResponse {
    fn simple(&self, out: &mut Vec<u8>) {
        line(out, if self.succeeded { "SUCCESS" } else { "FAILURE" });
        for response in self.responses.iter().filter_map(|op| op.response.as_ref()) {
            line(out, "");
            with_answer(response, |answer| answer.simple(out));
        }
    }

    fn json(&self) -> Value {
        json::txn(self)
    }

    fn fields(&self, out: &mut Fields) {
        out.header(self.header.as_ref());
        out.plain("Succeeded", self.succeeded);
        for response in self.responses.iter().filter_map(|op| op.response.as_ref()) {
            with_answer(response, |answer| answer.fields(out));
        }
    }

    fn tables(&self) -> Vec<Table> {
        let result = if self.succeeded { "SUCCESS" } else { "FAILURE" };
        let cells = vec![result.to_owned(), revision(self.header.as_ref()).to_string()];
        let mut tables = vec![Table::new(&[text("RESULT"), number("REVISION")]).with_row(cells)];
        for response in self.responses.iter().filter_map(|op| op.response.as_ref()) {
            tables.extend(with_answer(response, |answer| answer.tables()));
        }
        tables
    }
}

/// Shows an operation's answer as the answer it would be outside of a transaction.
fn with_answer<T>(response: &Response, show: impl FnOnce(&dyn Answer) -> T) -> T {
    match response {
        Response::ResponseRange(response) => {
            // A count comes without keys. So does a read that found nothing, and prints nothing.
            let is_count = response.kvs.is_empty() && response.count > 0;
            let shape = if is_count { Shape::Count } else { Shape::Pairs };
            show(&Got { response: response.clone(), shape })
        }
        Response::ResponsePut(response) => show(response),
        Response::ResponseDeleteRange(response) => show(response),
        Response::ResponseTxn(response) => show(response),
    }
}

/// The answer to a compaction, which does not repeat the revision.
#[derive(Debug)]
pub(crate) struct Compacted {
    pub(crate) revision: i64,
    pub(crate) response: CompactionResponse,
}

impl Answer for Compacted {
    fn simple(&self, out: &mut Vec<u8>) {
        line(out, format!("compacted revision {}", self.revision));
    }

    fn json(&self) -> Value {
        json::answer(self.response.header.as_ref()).done()
    }

    fn fields(&self, out: &mut Fields) {
        out.header(self.response.header.as_ref());
        out.plain("CompactedRevision", self.revision);
    }

    fn tables(&self) -> Vec<Table> {
        vec![count_table("COMPACTED REVISION", self.revision)]
    }
}

impl Answer for MemberListResponse {
    fn simple(&self, out: &mut Vec<u8>) {
        for cells in member_rows(self) {
            line(out, cells.join(", "));
        }
    }

    fn json(&self) -> Value {
        json::answer(self.header.as_ref())
            .with("members", self.members.iter().map(json::member).collect::<Vec<_>>())
            .done()
    }

    fn fields(&self, out: &mut Fields) {
        out.header(self.header.as_ref());
        for member in &self.members {
            out.plain("ID", member.id);
            out.text("Name", &member.name);
            member.peer_urls.iter().for_each(|url| out.text("PeerURL", url));
            member.client_urls.iter().for_each(|url| out.text("ClientURL", url));
            out.plain("IsLearner", member.is_learner);
            out.gap();
        }
    }

    fn tables(&self) -> Vec<Table> {
        let columns = ["ID", "STATUS", "NAME", "PEER ADDRS", "CLIENT ADDRS", "IS LEARNER"];
        let mut table = Table::new(&columns.map(text));
        for cells in member_rows(self) {
            table.row(cells.iter().map(|cell| escaped(cell.as_bytes())).collect());
        }
        vec![table]
    }
}

/// A member that has not started has not said its name.
fn member_rows(list: &MemberListResponse) -> Vec<Vec<String>> {
    let row = |member: &raft_api::etcdserverpb::Member| {
        vec![
            format!("{:x}", member.id),
            if member.name.is_empty() { "unstarted" } else { "started" }.to_owned(),
            member.name.clone(),
            member.peer_urls.join(","),
            member.client_urls.join(","),
            member.is_learner.to_string(),
        ]
    };
    list.members.iter().map(row).collect()
}

/// How the asked endpoints are; those that did not answer are not in it.
#[derive(Debug)]
pub(crate) struct Statuses(pub(crate) Vec<(Endpoint, StatusResponse)>);

impl Answer for Statuses {
    fn simple(&self, out: &mut Vec<u8>) {
        self.0.iter().for_each(|(at, status)| line(out, status_row(at, status).join(", ")));
    }

    fn json(&self) -> Value {
        let entry = |(endpoint, status): &(Endpoint, StatusResponse)| {
            Object::new()
                .with_always("Endpoint", endpoint.to_string())
                .with_always("Status", json::status(status))
                .done()
        };
        self.0.iter().map(entry).collect()
    }

    fn fields(&self, out: &mut Fields) {
        for (endpoint, status) in &self.0 {
            out.header(status.header.as_ref());
            out.text("Version", &status.version);
            out.text("StorageVersion", &status.storage_version);
            out.plain("DBSize", status.db_size);
            out.plain("DBSizeInUse", status.db_size_in_use);
            out.plain("DBSizeQuota", status.db_size_quota);
            out.plain("Leader", status.leader);
            out.plain("IsLearner", status.is_learner);
            out.plain("RaftIndex", status.raft_index);
            out.plain("RaftTerm", status.raft_term);
            out.plain("RaftAppliedIndex", status.raft_applied_index);
            status.errors.iter().for_each(|error| out.text("Error", error));
            out.text("Endpoint", endpoint.to_string());
            out.gap();
        }
    }

    fn tables(&self) -> Vec<Table> {
        let mut table = Table::new(&[
            text("ENDPOINT"),
            text("ID"),
            text("VERSION"),
            text("STORAGE VERSION"),
            number("DB SIZE"),
            number("IN USE"),
            number("PERCENTAGE NOT IN USE"),
            number("QUOTA"),
            text("IS LEADER"),
            text("IS LEARNER"),
            number("RAFT TERM"),
            number("RAFT INDEX"),
            number("RAFT APPLIED INDEX"),
            text("ERRORS"),
            text("DOWNGRADE TARGET VERSION"),
            text("DOWNGRADE ENABLED"),
        ]);
        for (endpoint, status) in &self.0 {
            let cells = status_row(endpoint, status);
            table.row(cells.iter().map(|cell| escaped(cell.as_bytes())).collect());
        }
        vec![table]
    }
}

fn status_row(endpoint: &Endpoint, status: &StatusResponse) -> Vec<String> {
    let member = status.header.map_or(0, |header| header.member_id);
    let unused = status.db_size.saturating_sub(status.db_size_in_use).max(0);
    let percent = i128::from(unused) * 100 / i128::from(status.db_size.max(1));
    let downgrade = status.downgrade_info.clone().unwrap_or_default();
    vec![
        endpoint.to_string(),
        format!("{member:x}"),
        status.version.clone(),
        status.storage_version.clone(),
        human_bytes(status.db_size),
        human_bytes(status.db_size_in_use),
        format!("{percent}%"),
        human_bytes(status.db_size_quota),
        // A member that says 0 knows no leader, and is none.
        (status.leader != 0 && status.leader == member).to_string(),
        status.is_learner.to_string(),
        status.raft_term.to_string(),
        status.raft_index.to_string(),
        status.raft_applied_index.to_string(),
        status.errors.join(", "),
        downgrade.target_version,
        downgrade.enabled.to_string(),
    ]
}

/// Whether the asked endpoints can do their work.
#[derive(Debug)]
pub(crate) struct Healths(pub(crate) Vec<Health>);

/// Whether one endpoint can do its work.
#[derive(Debug)]
pub(crate) struct Health {
    pub(crate) endpoint: Endpoint,
    pub(crate) took: Duration,
    /// Why it cannot.
    pub(crate) error: Option<String>,
}

impl Answer for Healths {
    fn simple(&self, out: &mut Vec<u8>) {
        for Health { endpoint, took, error } in &self.0 {
            let judgement = match error {
                None => format!("healthy: successfully committed proposal: took = {took:?}"),
                Some(error) => format!("unhealthy: failed to commit proposal: {error}"),
            };
            line(out, format!("{endpoint} is {judgement}"));
        }
    }

    fn json(&self) -> Value {
        let entry = |health: &Health| {
            Object::new()
                .with_always("endpoint", health.endpoint.to_string())
                .with_always("health", health.error.is_none())
                .with_always("took", format!("{:?}", health.took))
                .with("error", health.error.clone())
                .done()
        };
        self.0.iter().map(entry).collect()
    }

    fn fields(&self, out: &mut Fields) {
        for health in &self.0 {
            out.text("Endpoint", health.endpoint.to_string());
            out.plain("Health", health.error.is_none());
            out.plain("Took", format_args!("{:?}", health.took));
            out.plain("Error", health.error.as_deref().unwrap_or(""));
            out.gap();
        }
    }

    fn tables(&self) -> Vec<Table> {
        let columns = [text("ENDPOINT"), text("HEALTH"), number("TOOK"), text("ERROR")];
        let mut table = Table::new(&columns);
        for health in &self.0 {
            table.row(vec![
                health.endpoint.to_string(),
                health.error.is_none().to_string(),
                format!("{:?}", health.took),
                escaped(health.error.as_deref().unwrap_or("").as_bytes()),
            ]);
        }
        vec![table]
    }
}

/// The version of this program and of the protocol.
#[derive(Debug)]
pub(crate) struct Version;

impl Answer for Version {
    fn simple(&self, out: &mut Vec<u8>) {
        line(out, format!("raftctl version: {VERSION}"));
        line(out, format!("API version: {API_VERSION}"));
    }

    fn json(&self) -> Value {
        Object::new().with("version", VERSION).with("api_version", API_VERSION).done()
    }

    fn fields(&self, out: &mut Fields) {
        out.text("Version", VERSION);
        out.text("APIVersion", API_VERSION);
    }

    fn tables(&self) -> Vec<Table> {
        let cells = vec![VERSION.to_owned(), API_VERSION.to_owned()];
        vec![Table::new(&[text("RAFTCTL VERSION"), text("API VERSION")]).with_row(cells)]
    }
}

fn simple_pairs(kvs: &[KeyValue], out: &mut Vec<u8>) {
    for kv in kvs {
        line(out, &kv.key);
        line(out, &kv.value);
    }
}

fn range_fields(response: &RangeResponse, out: &mut Fields) {
    out.header(response.header.as_ref());
    pairs_fields("", &response.kvs, out);
    out.plain("More", response.more);
    out.plain("Count", response.count);
}

fn pairs_fields(prefix: &str, kvs: &[KeyValue], out: &mut Fields) {
    for kv in kvs {
        out.text(&format!("{prefix}Key"), &kv.key);
        out.plain(&format!("{prefix}CreateRevision"), kv.create_revision);
        out.plain(&format!("{prefix}ModRevision"), kv.mod_revision);
        out.plain(&format!("{prefix}Version"), kv.version);
        out.text(&format!("{prefix}Value"), &kv.value);
        out.plain(&format!("{prefix}Lease"), kv.lease);
    }
}

fn pairs_table(kvs: &[KeyValue]) -> Table {
    let mut table = Table::new(&[
        text("KEY"),
        text("VALUE"),
        number("CREATE REVISION"),
        number("MOD REVISION"),
        number("VERSION"),
        number("LEASE"),
    ]);
    for kv in kvs {
        table.row(vec![
            escaped(&kv.key),
            escaped(&kv.value),
            kv.create_revision.to_string(),
            kv.mod_revision.to_string(),
            kv.version.to_string(),
            // As leases are given and printed everywhere else.
            format!("{:x}", kv.lease),
        ]);
    }
    table
}

fn with_previous(table: Table, kvs: &[KeyValue]) -> Vec<Table> {
    let previous = (!kvs.is_empty()).then(|| pairs_table(kvs));
    [table].into_iter().chain(previous).collect()
}

fn count_table(title: &'static str, count: i64) -> Table {
    Table::new(&[number(title)]).with_row(vec![count.to_string()])
}

fn revision(header: Option<&ResponseHeader>) -> i64 {
    header.map_or(0, |header| header.revision)
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The version of the protocol that `raft-api` describes.
const API_VERSION: &str = "3.7";

#[cfg(test)]
mod tests;
