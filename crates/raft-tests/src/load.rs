//! Writers that never stop, through all members, and a record of what each was told.
//!
//! * Each write has a key and a value of its own and is sent once, so afterwards there is no doubt
//!   which write a key came from.
//! * A writer that meets an error goes on with the next member and the next key.
//! * When a write began and when it was answered are numbered across all writers: what was answered
//!   before another began must be ordered before it.
//!
//! Read next: `verdict.rs`, what must be true of all that.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::client::{Client, Failure};
use crate::verdict::History;
use crate::wait::PATIENCE;

/// One write and what its client was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Its key, which no other write has.
    pub key: String,
    /// Its value, which no other write has.
    pub value: String,
    /// When it was sent, in the order of all events.
    pub began: u64,
    /// When it was answered, in the order of all events.
    pub ended: u64,
    /// What the answer said.
    pub outcome: Outcome,
}

/// What a client knows about its write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was executed, at this revision.
    Acknowledged(i64),
    /// It was not executed and never will be.
    Refused(Failure),
    /// Nobody told.
    Unknown(Failure),
}

/// Running writers.
#[derive(Debug)]
pub struct Load {
    prefix: String,
    stop: watch::Sender<bool>,
    acknowledged: watch::Sender<u64>,
    writers: JoinSet<Vec<Write>>,
}

/// The wait of a writer that met an error, so that a dead member is not asked without pause.
const PAUSE: Duration = Duration::from_millis(10);

impl Load {
    /// Starts `writers` that write under `prefix`, spread over the members at `urls`. Each value
    /// has `value_bytes` at least.
    pub fn start(prefix: &str, urls: &[String], writers: usize, value_bytes: usize) -> Self {
        let (stop, acknowledged) = (watch::Sender::new(false), watch::Sender::new(0));
        let clients: Vec<Client> = urls.iter().map(|url| Client::new(url)).collect();
        let clock = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        for number in 0..writers {
            let writer = Writer {
                prefix: format!("{prefix}{number:03}/"),
                value_bytes,
                clients: clients.clone(),
                next: number % clients.len(),
                clock: Arc::clone(&clock),
                acknowledged: acknowledged.clone(),
                stop: stop.subscribe(),
            };
            tasks.spawn(writer.run());
        }
        Self { prefix: prefix.to_owned(), stop, acknowledged, writers: tasks }
    }

    /// How many writes were acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        *self.acknowledged.borrow()
    }

    /// Waits until `count` more writes are acknowledged: the service is there.
    pub async fn progress(&self, count: u64) {
        let mut acknowledged = self.acknowledged.subscribe();
        let goal = *acknowledged.borrow_and_update() + count;
        let reached = timeout(PATIENCE, acknowledged.wait_for(|now| *now >= goal)).await;
        assert!(reached.is_ok(), "{} of {goal} writes acknowledged", self.acknowledged());
    }

    /// Lets every writer finish its write, and gives what all were told.
    pub async fn stop(mut self) -> History {
        self.stop.send_replace(true);
        let mut writes = Vec::new();
        let finished = timeout(PATIENCE, async {
            while let Some(written) = self.writers.join_next().await {
                writes.extend(written.expect("a writer does not panic"));
            }
        });
        finished.await.expect("every write is answered in time");
        History { prefix: self.prefix, writes }
    }
}

struct Writer {
    prefix: String,
    value_bytes: usize,
    clients: Vec<Client>,
    /// The member to ask next.
    next: usize,
    clock: Arc<AtomicU64>,
    acknowledged: watch::Sender<u64>,
    stop: watch::Receiver<bool>,
}

impl Writer {
    async fn run(mut self) -> Vec<Write> {
        let mut writes = Vec::new();
        while !*self.stop.borrow() {
            let key = format!("{}{:06}", self.prefix, writes.len());
            let value = format!("{key}:{}", "v".repeat(self.value_bytes));
            let began = self.clock.fetch_add(1, Ordering::SeqCst);
            let answer = self.clients[self.next].write(&key, &value).await;
            let ended = self.clock.fetch_add(1, Ordering::SeqCst);
            let outcome = match answer {
                Ok(revision) => Outcome::Acknowledged(revision),
                Err(status) => {
                    let failure = Failure::of(&status);
                    let is_refusal = failure.is_refusal();
                    if is_refusal { Outcome::Refused(failure) } else { Outcome::Unknown(failure) }
                }
            };
            let is_acknowledged = matches!(outcome, Outcome::Acknowledged(_));
            writes.push(Write { key, value, began, ended, outcome });
            if is_acknowledged {
                self.acknowledged.send_modify(|count| *count += 1);
            } else {
                self.next = (self.next + 1) % self.clients.len();
                // Either it is over, or it is time for the next write.
                drop(timeout(PAUSE, self.stop.wait_for(|stop| *stop)).await);
            }
        }
        writes
    }
}
