//! Answers about backups.
//!
//! The first line of `inspect` and the first fields are those of `etcdctl snapshot status`.

use std::path::PathBuf;

use raft_api::etcdserverpb::Member;
use raft_backup::{Hash, Header};
use serde_json::Value;

use crate::json::{self, Object};
use crate::output::{Answer, Fields, Table, human_bytes, line, number, text};
use crate::quote::escaped;

/// A backup that was saved, verified or looked at.
#[derive(Debug)]
pub(crate) struct Described {
    pub(crate) action: Action,
    pub(crate) file: PathBuf,
    pub(crate) header: Header,
    pub(crate) hash: Hash,
}

/// What was done with a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// It was saved, and verified after that.
    Saved,
    /// All of it was read.
    Verified,
    /// Its ends were read.
    Inspected,
}

impl Described {
    /// A number as etcd has one: enough to tell two files apart at a glance.
    fn short_hash(&self) -> u32 {
        let [a, b, c, d, ..] = self.hash.0;
        u32::from_be_bytes([a, b, c, d])
    }

    fn human_size(&self) -> String {
        human_bytes(i64::try_from(self.header.file_bytes()).unwrap_or(i64::MAX))
    }

    fn members(&self) -> impl Iterator<Item = Member> {
        self.header.members.iter().map(|member| Member {
            id: member.id,
            name: member.name.clone(),
            peer_urls: member.peer_urls.clone(),
            client_urls: member.client_urls.clone(),
            is_learner: member.is_learner,
        })
    }

    /// What the header says beyond etcd's four facts, with names for people.
    fn details(&self) -> [(&'static str, String); 5] {
        let header = &self.header;
        [
            ("SHA-256", self.hash.to_string()),
            ("cluster", header.cluster.to_string()),
            ("applied", format!("index {}, term {}", header.applied.index, header.applied.term)),
            ("state", format!("{} bytes", header.state_bytes)),
            ("server version", escaped(header.server_version.as_bytes())),
        ]
    }

    fn simple_details(&self, out: &mut Vec<u8>) {
        for (name, value) in self.details() {
            line(out, format!("{name}: {value}"));
        }
        for member in self.members() {
            let urls = [&member.peer_urls[..], &member.client_urls].map(|urls| urls.join(","));
            let [peer, client] = urls.map(|urls| escaped(urls.as_bytes()));
            let name = escaped(member.name.as_bytes());
            line(out, format!("member: {:x}, {name}, {peer}, {client}", member.id));
        }
    }
}

impl Answer for Described {
    fn simple(&self, out: &mut Vec<u8>) {
        let (file, header) = (self.file.display(), &self.header);
        let (keys, revision, size) = (header.keys, header.revision, self.human_size());
        match self.action {
            Action::Saved => line(out, format!("Snapshot saved at {file}")),
            Action::Verified => {
                let hash = &self.hash;
                let facts = format!("{keys} keys at revision {revision}, {size}, SHA-256 {hash}");
                line(out, format!("{file}: good, {facts}"));
            }
            Action::Inspected => {
                line(out, format!("{:x}, {revision}, {keys}, {size}", self.short_hash()));
                self.simple_details(out);
            }
        }
    }

    fn json(&self) -> Value {
        let header = &self.header;
        Object::new()
            .with_always("hash", self.short_hash())
            .with_always("revision", header.revision)
            .with_always("totalKey", header.keys)
            .with_always("totalSize", header.file_bytes())
            .with_always("file", self.file.display().to_string())
            .with_always("sha256", self.hash.to_string())
            .with_always("cluster", header.cluster.to_string())
            .with_always("appliedIndex", header.applied.index.get())
            .with_always("appliedTerm", header.applied.term.get())
            .with_always("stateSize", header.state_bytes)
            .with_always("serverVersion", header.server_version.as_str())
            .with("members", self.members().map(|member| json::member(&member)).collect::<Vec<_>>())
            .done()
    }

    fn fields(&self, out: &mut Fields) {
        let header = &self.header;
        out.plain("Hash", self.short_hash());
        out.plain("Revision", header.revision);
        out.plain("Keys", header.keys);
        out.plain("Size", header.file_bytes());
        out.text("File", self.file.as_os_str().as_encoded_bytes());
        out.text("SHA256", self.hash.to_string());
        out.text("Cluster", header.cluster.to_string());
        out.plain("AppliedIndex", header.applied.index.get());
        out.plain("AppliedTerm", header.applied.term.get());
        out.plain("StateSize", header.state_bytes);
        out.text("ServerVersion", &header.server_version);
        for member in self.members() {
            out.gap();
            out.plain("ID", member.id);
            out.text("Name", &member.name);
            for url in &member.peer_urls {
                out.text("PeerURL", url);
            }
            for url in &member.client_urls {
                out.text("ClientURL", url);
            }
            out.plain("IsLearner", member.is_learner);
        }
    }

    fn tables(&self) -> Vec<Table> {
        let (header, columns) =
            (&self.header, [text("HASH"), number("REVISION"), number("TOTAL KEYS")]);
        let facts = Table::new(&[&columns[..], &[number("TOTAL SIZE")]].concat()).with_row(vec![
            format!("{:x}", self.short_hash()),
            header.revision.to_string(),
            header.keys.to_string(),
            self.human_size(),
        ]);
        let mut details = Table::new(&[text("FACT"), text("VALUE")]);
        for (name, value) in self.details() {
            details.row(vec![name.to_owned(), value]);
        }
        let columns = ["ID", "NAME", "PEER ADDRS", "CLIENT ADDRS"].map(text);
        let mut members = Table::new(&columns);
        for member in self.members() {
            members.row(vec![
                format!("{:x}", member.id),
                escaped(member.name.as_bytes()),
                escaped(member.peer_urls.join(",").as_bytes()),
                escaped(member.client_urls.join(",").as_bytes()),
            ]);
        }
        vec![facts, details, members]
    }
}
