//! Two reports that never happened, for tests: a short story told by hand, and a long one.

use raft_core::{EntryId, Index, NodeId, RoleName, Term};

use crate::report::Report;
use crate::trace::{ProcessState, Trace, TraceEvent, What};

pub(crate) fn node(id: u64) -> NodeId {
    NodeId::new(id).expect("not zero")
}

/// Tells a trace event by event.
#[derive(Default)]
pub(crate) struct Tale {
    pub(crate) trace: Trace,
    step: u64,
    at: u64,
    packets: u64,
    terms: [u64; 8],
    ways: Vec<u64>,
}

impl Tale {
    pub(crate) fn new(nodes: u64) -> Self {
        let mut tale = Self::default();
        tale.trace.nodes = (1..=nodes).map(node).collect();
        tale
    }

    /// The next event of the world, so many microseconds later.
    pub(crate) fn after(&mut self, micros: u64) -> &mut Self {
        self.step += 1;
        self.at += micros * 1_000;
        self
    }

    pub(crate) fn push(&mut self, what: What) {
        self.trace.events.push(TraceEvent { step: self.step, at: self.at, what });
    }

    fn term(&self, id: u64) -> u64 {
        self.terms[usize::try_from(id).expect("small")]
    }

    pub(crate) fn send(&mut self, from: u64, to: u64, says: &str) -> u64 {
        self.packets += 1;
        self.ways.push(to);
        let text = format!("n{from}@{} → n{to} {says}", self.term(from));
        let is_heartbeat = says.contains("[]") || says.contains("beat");
        let (packet, from, to) = (self.packets, node(from), node(to));
        self.push(What::Sent { packet, from, to, text, is_heartbeat });
        packet
    }

    pub(crate) fn arrive(&mut self, packet: u64) {
        let to = node(self.ways[usize::try_from(packet - 1).expect("small")]);
        self.push(What::Arrived { packet, to });
    }

    pub(crate) fn vanish(&mut self, packet: u64, why: &'static str) {
        self.push(What::Vanished { packet, why });
    }

    pub(crate) fn role(&mut self, id: u64, term: u64, role: RoleName, leader: Option<u64>) {
        self.terms[usize::try_from(id).expect("small")] = term;
        let (term, leader) = (Term::new(term), leader.map(node));
        self.push(What::Role { node: node(id), term, role, leader });
    }

    pub(crate) fn commit(&mut self, id: u64, index: u64, term: u64) {
        let upto = EntryId::new(Term::new(term), Index::new(index));
        self.push(What::Committed { node: node(id), upto });
    }

    pub(crate) fn apply(&mut self, id: u64, index: u64) {
        self.push(What::Applied { node: node(id), upto: Index::new(index) });
    }

    pub(crate) fn wrote(&mut self, id: u64, text: &str) {
        self.push(What::Wrote { node: node(id), text: text.into() });
    }

    pub(crate) fn process(&mut self, id: u64, state: ProcessState, text: &str) {
        self.push(What::Process { node: node(id), state, text: text.into() });
    }

    pub(crate) fn fault(&mut self, ids: &[u64], text: &str) {
        let nodes = ids.iter().copied().map(node).collect();
        self.push(What::Fault { nodes, text: text.into() });
    }

    pub(crate) fn client(&mut self, id: u64, text: &str) {
        self.push(What::Client { node: node(id), text: text.into() });
    }

    pub(crate) fn report(self, statement: &str) -> Report {
        Report {
            seed: 42,
            command: "cargo run --release -p raft-sim -- replay 42".into(),
            mutant: Some("M03 acknowledges before the sync".into()),
            oracle: "durable quorum".into(),
            statement: statement.into(),
            at: self.at,
            step: self.step,
            world: [
                ("nodes", "3"),
                ("pre-vote", "on"),
                ("network.loss", "0.031"),
                ("disk", "4 KiB"),
            ]
            .map(|(name, value)| (name.into(), value.into()))
            .to_vec(),
            choices: vec!["network.delay #12 = 4000".into(), "crash.victim #1 = n3".into()],
            choices_before: 4_711,
            disks: vec![
                (node(1), "term=4 vote=n1 [1@4 2@4 3@4]".into()),
                (node(2), "term=4 vote=n1 [1@4]\nsnapshot none".into()),
                (node(3), "term=4 vote=n1 [1@4]".into()),
            ],
            history: vec!["c1 put a=1 → ok at 3@4".into(), "c1 get a → nothing".into()],
            known_bugs: vec!["etcd 11651: a restarted follower acknowledges too much".into()],
            trace: self.trace,
        }
    }
}

/// An election, replication, a lost message, a crash, a failure: three nodes, some sixty events.
pub(crate) fn short() -> Report {
    let mut tale = Tale::new(3);
    tale.push(What::Part { text: "storm".into() });
    elect(&mut tale);
    replicate(&mut tale);
    let statement =
        "n1 reports commit 3@4, expected on the disks of 2 of 3 nodes, found on n1 alone";
    tale.after(0).push(What::Failure { node: Some(node(1)), text: statement.into() });
    tale.report(statement)
}

fn elect(tale: &mut Tale) {
    tale.after(151_200).role(1, 3, RoleName::PreCandidate, None);
    let asks = [tale.send(1, 2, "PreVote last=0@0"), tale.send(1, 3, "PreVote last=0@0")];
    tale.vanish(asks[1], "lost");
    tale.after(2_100).arrive(asks[0]);
    let answer = tale.send(2, 1, "PreVoteResponse granted");
    tale.after(1_900).arrive(answer);
    tale.role(1, 4, RoleName::Candidate, None);
    tale.after(400).wrote(1, "term=4 vote=n1");
    let asks = [tale.send(1, 2, "RequestVote last=0@0"), tale.send(1, 3, "RequestVote last=0@0")];
    tale.after(1_700).arrive(asks[1]);
    tale.role(3, 4, RoleName::Follower, None);
    tale.after(600).arrive(asks[0]);
    tale.role(2, 4, RoleName::Follower, None);
    tale.after(350).wrote(3, "term=4 vote=n1");
    let grant = tale.send(3, 1, "RequestVoteResponse granted");
    tale.after(1_800).arrive(grant);
    tale.role(1, 4, RoleName::Leader, Some(1));
    let noops = [2, 3].map(|to| tale.send(1, to, "AppendEntries prev=0@0 [1@4] commit=0 round=1"));
    tale.after(300).wrote(1, "1@4");
    for (to, noop) in [2, 3].into_iter().zip(noops) {
        tale.after(1_500).arrive(noop);
        tale.role(to, 4, RoleName::Follower, Some(1));
        tale.after(300).wrote(to, "term=4 vote=n1 1@4");
        let answer = tale.send(to, 1, "AppendEntriesResponse match=1 accepted=1 round=1");
        tale.after(900).arrive(answer);
        if to == 2 {
            tale.commit(1, 1, 4);
            tale.apply(1, 1);
        }
    }
}

fn replicate(tale: &mut Tale) {
    tale.after(9_000).client(1, "c1 put a=1");
    tale.client(1, "c1 put b=\"<x>\"");
    let both = "AppendEntries prev=1@4 [2@4 3@4] commit=1 round=1";
    let appends = [tale.send(1, 2, both), tale.send(1, 3, both)];
    tale.vanish(appends[0], "corrupted");
    tale.after(200).fault(&[1, 2], "cut n1 ↔ n2, both ways");
    tale.after(280).wrote(1, "2@4 3@4");
    tale.after(1_800).arrive(appends[1]);
    let early = tale.send(3, 1, "AppendEntriesResponse match=3 accepted=3 round=1");
    tale.after(150).process(3, ProcessState::Down, "power lost, 2 pending writes gone");
    let beats = [2, 3].map(|to| tale.send(1, to, "AppendEntries prev=3@4 [] commit=1 round=2"));
    tale.after(0).vanish(beats[0], "cut");
    tale.after(2_000).vanish(beats[1], "nobody there");
    tale.after(5_000).process(3, ProcessState::Recovering, "");
    tale.after(700).process(3, ProcessState::Up, "");
    tale.after(900).process(2, ProcessState::Paused, "");
    tale.after(4_000).arrive(early);
    tale.commit(1, 3, 4);
}

/// A long run of five nodes: rounds of replication with heartbeats, and every kind of trouble.
pub(crate) fn long() -> Report {
    let mut tale = Tale::new(5);
    tale.push(What::Part { text: "storm".into() });
    let (mut leader, mut term, mut index) = (1, 1, 0);
    take_over(&mut tale, leader, term);
    for round in 0..24_u64 {
        if round == 16 {
            tale.after(5_000).push(What::Part { text: "liveness: core n1 n2 n4".into() });
        }
        trouble(&mut tale, round, leader);
        if round % 9 == 8 {
            (leader, term) = (leader % 5 + 1, term + 1);
            take_over(&mut tale, leader, term);
        }
        index += 1;
        replicate_round(&mut tale, leader, (index, term), round);
        beat(&mut tale, leader, (index, term));
    }
    let statement = "every request was expected to end within 50 election timeouts in the core of \
                     n1, n2 and n4, but c7 put k3=\"a & b\" at n2 has been open for 14.2 s, \
                     and no node of the core has led for longer than 120 ms";
    tale.after(90).push(What::Failure { node: Some(node(2)), text: statement.into() });
    let mut report = tale.report(statement);
    report.oracle = "progress".into();
    report
}

fn others(leader: u64) -> impl Iterator<Item = u64> {
    (1..=5).filter(move |id| *id != leader)
}

fn take_over(tale: &mut Tale, leader: u64, term: u64) {
    tale.after(180_000).role(leader, term, RoleName::Candidate, None);
    tale.after(300).wrote(leader, &format!("term={term} vote=n{leader}"));
    let asks: Vec<u64> =
        others(leader).map(|to| tale.send(leader, to, "RequestVote last=7@1")).collect();
    for (to, ask) in others(leader).zip(asks) {
        tale.after(800).arrive(ask);
        tale.role(to, term, RoleName::Follower, None);
        tale.after(150).wrote(to, &format!("term={term} vote=n{leader}"));
        let grant = tale.send(to, leader, "RequestVoteResponse granted");
        tale.after(700).arrive(grant);
        if to == leader % 5 + 1 {
            tale.role(leader, term, RoleName::Leader, Some(leader));
        }
    }
}

fn trouble(tale: &mut Tale, round: u64, leader: u64) {
    let victim = leader % 5 + 1;
    match round % 7 {
        1 => tale.after(10).fault(&[victim, leader], "one-way cut"),
        2 => tale.after(10).process(victim, ProcessState::Down, "crash"),
        3 => {
            tale.after(10).process(victim, ProcessState::Recovering, "log and snapshot");
            tale.after(900).process(victim, ProcessState::Up, "");
        }
        4 => tale.after(10).process(leader, ProcessState::Paused, "60 ms"),
        5 => {
            tale.after(60_000).process(leader, ProcessState::Up, "resumed");
            tale.after(10).fault(&[], "latency of all links becomes heavy-tailed, 2 ms to 900 ms");
        }
        _ => {}
    }
}

fn replicate_round(tale: &mut Tale, leader: u64, (index, term): (u64, u64), round: u64) {
    tale.after(3_000).client(leader, &format!("c{} put k{index}={round}", round % 8));
    let says = format!(
        "AppendEntries prev={}@{term} [{index}@{term}] commit={} round={round}",
        index - 1,
        index - 1
    );
    let appends: Vec<u64> = others(leader).map(|to| tale.send(leader, to, &says)).collect();
    tale.after(200).wrote(leader, &format!("{index}@{term}"));
    for (to, append) in others(leader).zip(appends) {
        if (to + round).is_multiple_of(6) {
            tale.vanish(append, "lost");
            continue;
        }
        tale.after(1_100).arrive(append);
        tale.after(240).wrote(to, &format!("{index}@{term}"));
        let says = format!("AppendEntriesResponse match={index} accepted={index} round={round}");
        let answer = tale.send(to, leader, &says);
        if (to + round).is_multiple_of(5) {
            // Overtaken for ever: still on its way at the end.
            continue;
        }
        tale.after(900).arrive(answer);
        if to == leader % 5 + 1 {
            tale.commit(leader, index, term);
            tale.apply(leader, index);
        }
    }
}

fn beat(tale: &mut Tale, leader: u64, (index, term): (u64, u64)) {
    let says = format!("AppendEntries prev={index}@{term} [] commit={index} round=9");
    tale.after(50_000);
    let beats: Vec<u64> = others(leader).map(|to| tale.send(leader, to, &says)).collect();
    for (to, beat) in others(leader).zip(beats) {
        tale.after(300).arrive(beat);
        if to == 3 {
            tale.commit(to, index, term);
        }
        let answer = tale.send(to, leader, "HeartbeatResponse beat");
        tale.after(300).arrive(answer);
    }
}
