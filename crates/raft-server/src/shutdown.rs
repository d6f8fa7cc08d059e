//! When this process is asked to stop: SIGTERM, Ctrl-C, or the end of its supervisor.
//!
//! `raftd dev` and `raftd demo` start members as child processes with [`SUPERVISED`] set and a pipe
//! as their stdin. When the supervisor ends, however it ends, the pipe closes and the members stop
//! by themselves; nothing is left running. Read next: `cluster/process.rs`, the other end.

use std::io::{self, Read as _};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// The environment variable that tells a member to stop when its stdin ends.
pub const SUPERVISED: &str = "RAFTD_EXIT_WITH_STDIN";

/// Why this process should stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// SIGTERM.
    Terminated,
    /// SIGINT, as of Ctrl-C.
    Interrupted,
    /// The supervisor is gone.
    Abandoned,
}

/// Listens from now on, so that a request between two waits is not missed.
#[derive(Debug)]
pub struct Shutdown {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    abandoned: Option<oneshot::Receiver<()>>,
}

impl Shutdown {
    /// Begins to listen. Call it inside a runtime, before anything that should be stopped begins.
    ///
    /// # Errors
    ///
    /// The operating system refuses to register a signal or to start a thread.
    pub fn listen() -> io::Result<Self> {
        let abandoned = match std::env::var_os(SUPERVISED) {
            Some(_) => Some(watch_stdin()?),
            None => None,
        };
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            abandoned,
        })
    }

    /// Waits for the next request to stop.
    pub async fn requested(&mut self) -> Reason {
        let abandoned = async {
            match &mut self.abandoned {
                Some(end) => _ = end.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => Reason::Terminated,
            _ = self.interrupt.recv() => Reason::Interrupted,
            () = abandoned => {
                self.abandoned = None;
                Reason::Abandoned
            }
        }
    }
}

/// A thread of its own, because a read of stdin cannot be cancelled and must not delay the end of
/// the runtime.
fn watch_stdin() -> io::Result<oneshot::Receiver<()>> {
    let (gone, receiver) = oneshot::channel();
    std::thread::Builder::new().name("stdin".to_owned()).spawn(move || {
        let mut ignored = [0; 256];
        let mut stdin = io::stdin().lock();
        while stdin.read(&mut ignored).is_ok_and(|count| count > 0) {}
        // Nobody listens any more when the process is already stopping.
        _ = gone.send(());
    })?;
    Ok(receiver)
}
