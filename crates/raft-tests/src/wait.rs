//! The one way in which tests wait for a state: ask until it is there, and say what was missing.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, timeout};

/// Nothing takes this long, even on a busy machine; a test that waits longer has failed.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// How often is asked: seldom enough not to disturb, often enough not to be noticed.
const PACE: Duration = Duration::from_millis(20);

/// Asks `probe` until it gives a value.
///
/// # Panics
///
/// It gave none within [`PATIENCE`]. The message has `what` and the last answer.
pub async fn eventually<T, E, F>(what: &str, mut probe: impl FnMut() -> F) -> T
where
    E: Display,
    F: Future<Output = Result<T, E>>,
{
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = "nothing was answered".to_owned();
    let found = timeout(PATIENCE, async {
        loop {
            pace.tick().await;
            match probe().await {
                Ok(value) => return value,
                Err(error) => last = error.to_string(),
            }
        }
    })
    .await;
    found.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}; last: {last}"))
}
