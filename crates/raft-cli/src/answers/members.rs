//! Answers about members and leaders.

use raft_api::etcdserverpb::{Member, MemberListResponse, ResponseHeader};
use raft_api::membership::{MemberState, Promotion, ShowResponse};
use serde_json::Value;

use crate::json::{self, Object};
use crate::output::{Answer, Fields, Table, line, text};
use crate::quote::{escaped, quoted};

/// A membership that was changed.
#[derive(Debug)]
pub(crate) struct Changed {
    /// The member it is about.
    pub(crate) id: u64,
    /// What was done to it, up to the cluster.
    pub(crate) what: &'static str,
    pub(crate) header: Option<ResponseHeader>,
    /// All members afterwards.
    pub(crate) members: Vec<Member>,
    /// What a new member is started with.
    pub(crate) start: Option<Start>,
}

/// What a new member has to be started with.
#[derive(Debug)]
pub(crate) struct Start {
    name: String,
    initial_cluster: String,
    peer_urls: String,
}

impl Start {
    /// For a member of this name; `without` is one that leaves.
    pub(crate) fn new(name: &str, new: &Member, all: &[Member], without: Option<u64>) -> Self {
        let listed = all.iter().filter(|member| Some(member.id) != without);
        let entries = listed.flat_map(|member| {
            let name = if member.id == new.id { name } else { member.name.as_str() };
            member.peer_urls.iter().map(move |url| format!("{name}={url}"))
        });
        // A member that has not told its name cannot be listed; the new one does not need it.
        let entries = entries.filter(|entry| !entry.starts_with('='));
        Self {
            name: name.to_owned(),
            initial_cluster: entries.collect::<Vec<_>>().join(","),
            peer_urls: new.peer_urls.join(","),
        }
    }

    fn variables(&self) -> [(&'static str, &str); 4] {
        [
            ("ETCD_NAME", &self.name),
            ("ETCD_INITIAL_CLUSTER", &self.initial_cluster),
            ("ETCD_INITIAL_ADVERTISE_PEER_URLS", &self.peer_urls),
            ("ETCD_INITIAL_CLUSTER_STATE", "existing"),
        ]
    }
}

impl Changed {
    fn list(&self) -> MemberListResponse {
        MemberListResponse { header: self.header, members: self.members.clone() }
    }
}

impl Answer for Changed {
    fn simple(&self, out: &mut Vec<u8>) {
        let cluster = self.header.map_or(0, |header| header.cluster_id);
        line(out, format!("Member {:16x} {} cluster {cluster:16x}", self.id, self.what));
        if let Some(start) = &self.start {
            line(out, "");
            for (name, value) in start.variables() {
                line(out, format!("{name}={}", quoted(value.as_bytes())));
            }
        }
    }

    fn json(&self) -> Value {
        let own = self.members.iter().find(|member| member.id == self.id);
        let own = own.filter(|_| self.start.is_some());
        json::answer(self.header.as_ref())
            .with("member", own.map(json::member))
            .with("members", self.members.iter().map(json::member).collect::<Vec<_>>())
            .done()
    }

    fn fields(&self, out: &mut Fields) {
        self.list().fields(out);
        for (name, value) in self.start.iter().flat_map(Start::variables) {
            out.text(name, value);
        }
    }

    fn tables(&self) -> Vec<Table> {
        let mut tables = self.list().tables();
        if let Some(start) = &self.start {
            let mut table = Table::new(&[text("START WITH"), text("VALUE")]);
            for (name, value) in start.variables() {
                table.row(vec![name.to_owned(), escaped(value.as_bytes())]);
            }
            tables.push(table);
        }
        tables
    }
}

/// The membership as raftd's log has it.
#[derive(Debug)]
pub(crate) struct Shown(pub(crate) ShowResponse);

impl Shown {
    fn rows(&self) -> Vec<Vec<String>> {
        let row = |member: &MemberState| {
            vec![
                format!("{:x}", member.id),
                member.name.clone(),
                role(member).to_owned(),
                (self.0.leader == member.id).to_string(),
                plan(member),
                member.incarnation.clone(),
                member.peer_urls.join(","),
            ]
        };
        self.0.members.iter().map(row).collect()
    }
}

fn role(member: &MemberState) -> &'static str {
    match (member.is_voter, member.is_outgoing) {
        (true, _) => "voter",
        (false, true) => "outgoing voter",
        (false, false) => "learner",
    }
}

/// What becomes of a learner.
fn plan(member: &MemberState) -> String {
    match (member.is_voter || member.is_outgoing, member.replaces, member.promotion()) {
        (true, _, _) => String::new(),
        (false, 0, Promotion::Automatic) => "votes when caught up".to_owned(),
        (false, 0, Promotion::Manual) => "votes when promoted".to_owned(),
        (false, old, _) => format!("replaces {old:x} when caught up"),
    }
}

impl Answer for Shown {
    fn simple(&self, out: &mut Vec<u8>) {
        self.rows().iter().for_each(|cells| line(out, cells.join(", ")));
    }

    fn json(&self) -> Value {
        let member = |member: &MemberState| {
            Object::new()
                .with("ID", member.id)
                .with("name", member.name.as_str())
                .with_always("role", role(member))
                .with("plan", plan(member))
                .with("replaces", member.replaces)
                .with("incarnation", member.incarnation.as_str())
                .with("peerURLs", member.peer_urls.clone())
                .with("clientURLs", member.client_urls.clone())
                .done()
        };
        Object::new()
            .with("cluster_id", self.0.cluster_id)
            .with("member_id", self.0.member_id)
            .with("leader", self.0.leader)
            .with("raft_term", self.0.term)
            .with("index", self.0.index)
            .with_always("is_joint", self.0.is_joint)
            .with("members", self.0.members.iter().map(member).collect::<Vec<_>>())
            .done()
    }

    fn fields(&self, out: &mut Fields) {
        out.plain("ClusterID", self.0.cluster_id);
        out.plain("Leader", self.0.leader);
        out.plain("RaftTerm", self.0.term);
        out.plain("Index", self.0.index);
        out.plain("IsJoint", self.0.is_joint);
        for member in &self.0.members {
            out.plain("ID", member.id);
            out.text("Name", &member.name);
            out.text("Role", role(member));
            out.text("Plan", plan(member));
            out.text("Incarnation", &member.incarnation);
            member.peer_urls.iter().for_each(|url| out.text("PeerURL", url));
            out.gap();
        }
    }

    fn tables(&self) -> Vec<Table> {
        let columns = ["ID", "NAME", "ROLE", "IS LEADER", "PLAN", "INCARNATION", "PEER ADDRS"];
        let mut table = Table::new(&columns.map(text));
        for cells in self.rows() {
            table.row(cells.iter().map(|cell| escaped(cell.as_bytes())).collect());
        }
        vec![table]
    }
}

/// Leadership that was handed over.
#[derive(Debug)]
pub(crate) struct Moved {
    pub(crate) from: u64,
    pub(crate) to: u64,
}

impl Answer for Moved {
    fn simple(&self, out: &mut Vec<u8>) {
        let Self { from, to } = self;
        line(out, format!("Leadership transferred from {from:x} to {to:x}"));
    }

    fn json(&self) -> Value {
        Object::new().with_always("from", self.from).with_always("to", self.to).done()
    }

    fn fields(&self, out: &mut Fields) {
        out.plain("From", self.from);
        out.plain("To", self.to);
    }

    fn tables(&self) -> Vec<Table> {
        let cells = vec![format!("{:x}", self.from), format!("{:x}", self.to)];
        vec![Table::new(&[text("FROM"), text("TO")]).with_row(cells)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Format, render};

    fn check(answer: &dyn Answer, format: Format, expected: &str) {
        assert_eq!(String::from_utf8(render(answer, format)).unwrap(), expected);
    }

    fn member(id: u64, name: &str) -> Member {
        Member {
            id,
            name: name.to_owned(),
            peer_urls: vec![format!("http://h{id}:2380")],
            ..Member::default()
        }
    }

    fn added() -> Changed {
        let members = vec![member(1, "n1"), member(2, ""), member(0xabc, "")];
        let header = ResponseHeader { cluster_id: 0xc1, ..ResponseHeader::default() };
        let start = Some(Start::new("n3", &members[2], &members, Some(1)));
        Changed { id: 0xabc, what: "added to", header: Some(header), members, start }
    }

    /// What etcd's command line prints, so that scripts which read it go on; a member that leaves
    /// and one without a name are not in the list.
    #[test]
    fn a_new_member_is_told_what_to_start_with() {
        check(
            &added(),
            Format::Simple,
            "Member              abc added to cluster               c1\n\n\
             ETCD_NAME=\"n3\"\n\
             ETCD_INITIAL_CLUSTER=\"n3=http://h2748:2380\"\n\
             ETCD_INITIAL_ADVERTISE_PEER_URLS=\"http://h2748:2380\"\n\
             ETCD_INITIAL_CLUSTER_STATE=\"existing\"\n",
        );
        let json = added().json();
        assert_eq!(
            (&json["member"]["ID"], json["members"].as_array().unwrap().len()),
            (&Value::from(0xabc), 3)
        );
        assert_eq!(added().tables().len(), 2);
    }

    /// Leadership is printed as etcd's command line prints it.
    #[test]
    fn a_transfer_names_both() {
        let moved = Moved { from: 0x1f, to: 0x2e };
        check(&moved, Format::Simple, "Leadership transferred from 1f to 2e\n");
        check(&moved, Format::Json, "{\"from\":31,\"to\":46}\n");
    }

    /// Role and plan of a member are said in words.
    #[test]
    fn a_learner_has_a_plan() {
        let voter = MemberState { id: 1, is_voter: true, ..MemberState::default() };
        let learner = MemberState { id: 2, ..MemberState::default() };
        let manual = MemberState { promotion: Promotion::Manual.into(), ..learner.clone() };
        let heir = MemberState { replaces: 0xf, ..learner.clone() };
        let plans: Vec<String> = [voter, learner, manual, heir].iter().map(plan).collect();
        let expected =
            ["", "votes when caught up", "votes when promoted", "replaces f when caught up"];
        assert_eq!(plans, expected);
    }
}
