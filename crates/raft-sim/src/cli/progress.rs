//! How far a long run is, on standard error, at most twice a second.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use raft_sim::Summary;

/// The one clock of this program: it times the runs and decides nothing in them.
#[expect(clippy::disallowed_methods, reason = "it tells people how long a run took")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Says how far a run is.
pub(crate) struct Progress {
    began: Instant,
    of: u64,
    said: Mutex<Instant>,
}

const INTERVAL: Duration = Duration::from_millis(500);

impl Progress {
    pub(crate) fn new(of: u64) -> Self {
        let began = now();
        Self { began, of, said: Mutex::new(began) }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    pub(crate) fn say(&self, summary: &Summary) {
        let Ok(mut said) = self.said.try_lock() else { return };
        if said.elapsed() < INTERVAL && summary.seeds < self.of {
            return;
        }
        *said = now();
        eprintln!(
            "{} of {} seeds, {} failures, {:.1} million events, {:.0} s simulated in {:.1} s",
            summary.seeds,
            self.of,
            summary.failures.len(),
            millions(summary.events),
            seconds(summary.simulated_ns),
            self.elapsed().as_secs_f64()
        );
    }
}

/// For people: nobody counts with these.
#[expect(clippy::cast_precision_loss, reason = "shown with few digits")]
pub(crate) fn millions(count: u64) -> f64 {
    count as f64 / 1e6
}

/// Virtual nanoseconds as seconds.
#[expect(clippy::cast_precision_loss, reason = "shown with few digits")]
pub(crate) fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}
