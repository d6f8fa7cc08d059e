//! The laws every [`Transport`] must keep, as a suite that anybody can run against their own.
//!
//! A law is a function named after what it shows; [`check`] runs all of them, each on a network and
//! a tokio runtime of its own, and lists what is broken and how. The suite waits for events, never
//! for a while: only a transport that owes it something lets it run out of [`Subject::patience`].
//!
//! ```
//! use raft_core::NodeId;
//! use raft_net::contract::{Nature, Network, Property, Queueing, Subject, check};
//! use raft_net::{Loopback, Transport};
//!
//! struct Mine;
//!
//! impl Subject for Mine {
//!     fn nature(&self) -> Nature {
//!         Nature {
//!             message_bytes_max: Property::Lacks("memory has no frames"),
//!             queueing: Queueing::Inbox,
//!             hangs_up: Property::Lacks("a loopback network dials everybody who is on it"),
//!         }
//!     }
//!
//!     fn network(&mut self) -> Box<dyn Network> {
//!         Box::new(MyNetwork(Loopback::network()))
//!     }
//! }
//!
//! struct MyNetwork(Loopback);
//!
//! impl Network for MyNetwork {
//!     fn transport(&mut self, _: NodeId) -> Box<dyn Transport> {
//!         Box::new(self.0.join())
//!     }
//!
//!     fn sever(&mut self, a: NodeId, b: NodeId) {
//!         self.0.cut(a, b);
//!         self.0.heal();
//!     }
//! }
//!
//! let report = check(&mut Mine);
//! // What could not be asked is said, with the reason; it does not count as kept.
//! assert_eq!(report.not_run.len(), 2, "{report}");
//! ```
//!
//! Read next: `contract/carry.rs`, `bound.rs`, `meet.rs` and `fetch.rs` beside it, the laws;
//! `transport.rs`, whose sentences they are.

mod bound;
mod cargo;
mod carry;
mod fetch;
mod meet;
mod sample;
mod stage;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::time::Duration;

use raft_core::NodeId;
use tokio::runtime::{Builder, Runtime};

use self::stage::Stage;
use crate::Transport;

/// How the suite gets the transports it examines.
pub trait Subject {
    /// What kind of transport it is, as far as laws depend on it. What a kind lacks by nature is
    /// said here, and shown in the [`Report`].
    fn nature(&self) -> Nature;

    /// A network that nobody is on. Called inside a tokio runtime, once for each law.
    fn network(&mut self) -> Box<dyn Network>;

    /// How long the suite waits for what must happen. Default 30 s: longer than a good transport
    /// takes on a busy machine, because nothing is learnt from one that was not waited for.
    fn patience(&self) -> Duration {
        Duration::from_secs(30)
    }
}

/// A network under examination. The suite starts transports on it, gives them rosters, and stops
/// them; all of that inside a tokio runtime.
///
/// A node that dies is stopped and dropped. The suite knows that it has ended by its
/// [`Inbox`](crate::Inbox): a transport that was dropped, and whatever belongs to it, keeps none.
pub trait Network {
    /// A transport for this node, not started. A node that restarts gets a second one, which others
    /// best find where the first was.
    fn transport(&mut self, node: NodeId) -> Box<dyn Transport>;

    /// Where others dial this node, whose transport listens at `listens` since its start. Default:
    /// there. A subject that breaks connections puts something in between; what a node shows of
    /// itself must then agree with it, or nodes are dialled twice.
    fn address(&mut self, node: NodeId, listens: Option<SocketAddr>) -> String {
        let _ = node;
        listens.map_or_else(String::new, |listens| listens.to_string())
    }

    /// Breaks what connects two nodes, in both directions and wherever a message just is; what
    /// connects them with others may break too. They may meet again at once.
    fn sever(&mut self, a: NodeId, b: NodeId);
}

/// What kind of transport it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nature {
    /// The largest message, in bytes with its framing: what [`SendError::TooLarge`] says. The suite
    /// sends messages of this size: a few megabytes show as much as more, one is the least.
    ///
    /// [`SendError::TooLarge`]: crate::SendError::TooLarge
    pub message_bytes_max: Property<u64>,
    /// Where messages wait for a node that does not take them in.
    pub queueing: Queueing,
    /// Whether a node that leaves the roster is hung up on.
    pub hangs_up: Property<()>,
}

/// Something that a kind of transport has, or lacks by its nature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Property<T> {
    /// It has it.
    Has(T),
    /// It cannot have it, for this reason. What depends on it is reported as not run.
    Lacks(&'static str),
}

/// Where bulk messages wait for a node that does not take them in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queueing {
    /// In a queue of the sender, for each node. The suite fills it: a megabyte is enough.
    Own {
        /// Bytes that may wait for one node.
        bulk_bytes_max: u64,
    },
    /// Nowhere but in the inbox of the receiver, whose bound is what a sender is told.
    Inbox,
}

/// What became of the laws that are not broken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "a law that was not run is not a law that is kept"]
pub struct Report {
    /// The names of the laws that are kept.
    pub kept: Vec<&'static str>,
    /// The names of the laws that could not be asked, each with the reason the subject gave.
    pub not_run: Vec<(&'static str, &'static str)>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} laws are kept, {} were not run", self.kept.len(), self.not_run.len())?;
        for (law, reason) in &self.not_run {
            write!(f, "\n  `{law}` was not run: {reason}")?;
        }
        Ok(())
    }
}

/// Runs every law.
///
/// # Panics
///
/// If laws are broken; the message says which and how. Also inside a tokio runtime, as the suite
/// brings its own.
pub fn check(subject: &mut dyn Subject) -> Report {
    let (mut report, mut broken) = (Report::default(), Vec::new());
    for law in LAWS {
        match law.examine(subject) {
            Ok(()) => report.kept.push(law.name),
            Err(Finding::NotRun(reason)) => report.not_run.push((law.name, reason)),
            Err(Finding::Broken(how)) => broken.push(format!("\n  `{}`: {how}", law.name)),
        }
    }
    let (count, list) = (broken.len(), broken.concat());
    assert!(broken.is_empty(), "{count} of {} laws are broken:{list}", LAWS.len());
    report
}

/// Why a law is not kept.
#[derive(Debug)]
enum Finding {
    /// It is broken, in this way.
    Broken(String),
    /// It could not be asked, for this reason.
    NotRun(&'static str),
}

type Verdict = Result<(), Finding>;

/// Finds a law broken unless this is so.
fn ensure(is_so: bool, how: impl FnOnce() -> String) -> Verdict {
    if is_so { Ok(()) } else { Err(Finding::Broken(how())) }
}

impl<T> Property<T> {
    /// What it has; else the law that asks cannot be run.
    fn needed(self) -> Result<T, Finding> {
        match self {
            Self::Has(property) => Ok(property),
            Self::Lacks(reason) => Err(Finding::NotRun(reason)),
        }
    }
}

struct Law {
    name: &'static str,
    run: for<'a> fn(&'a mut Stage) -> Pin<Box<dyn Future<Output = Verdict> + 'a>>,
}

impl Law {
    fn examine(&self, subject: &mut dyn Subject) -> Verdict {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = Background(Some(runtime.expect("the system has threads to spare")));
        let examined = catch_unwind(AssertUnwindSafe(|| {
            runtime.block_on(async {
                let (nature, patience) = (subject.nature(), subject.patience());
                let mut stage = Stage::new(subject.network(), nature, patience);
                (self.run)(&mut stage).await
            })
        }));
        examined.unwrap_or_else(|panic| {
            Err(Finding::Broken(format!("it panicked: {}", words(&*panic))))
        })
    }
}

/// What a panic said.
fn words(panic: &(dyn Any + Send)) -> &str {
    let literal = panic.downcast_ref::<&str>().copied();
    literal.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no words")
}

/// A runtime that does not wait for threads a broken transport blocks for ever.
struct Background(Option<Runtime>);

impl Background {
    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.0.as_ref().expect("it is taken when dropped").block_on(future)
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

macro_rules! laws {
    ($($file:ident: $($name:ident),+;)+) => {
        &[$($(Law { name: stringify!($name), run: |stage| Box::pin($file::$name(stage)) }),+),+]
    };
}

const LAWS: &[Law] = laws! {
    carry:
        what_is_sent_arrives_unchanged_and_once,
        messages_of_a_class_arrive_in_order_without_a_gap,
        a_message_reaches_its_addressee_alone,
        messages_wait_while_a_node_is_first_dialled,
        arrivals_carry_the_incarnation_of_the_handshake,
        nobody_speaks_for_another,
        what_is_carried_is_counted,
        large_messages_pass_unchanged;
    bound:
        too_large_messages_are_refused_with_their_size,
        sending_never_blocks,
        control_overtakes_bulk_that_waits,
        a_full_queue_says_so_and_forgets_nothing,
        a_slow_host_is_not_flooded;
    meet:
        an_unknown_node_is_refused,
        a_lost_node_is_reported_and_refused,
        a_restarted_node_is_reached_again,
        a_broken_connection_is_told_and_mended,
        another_cluster_is_not_heard,
        another_incarnation_than_recorded_is_refused,
        who_leaves_the_roster_is_hung_up_on,
        a_transport_is_started_once,
        stop_ends_everything;
    fetch:
        every_chunk_arrives_as_it_is_stored,
        a_fetch_goes_on_where_it_stopped,
        what_is_gone_is_said_to_be,
        a_lost_node_breaks_a_fetch,
        a_damaged_chunk_is_asked_for_again,
        what_the_sink_refuses_ends_a_fetch,
        messages_pass_a_fetch,
        fetching_never_blocks,
        stop_closes_every_fetch;
};
