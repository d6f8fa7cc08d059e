//! The one clock of this host. Everything that needs the time asks here.

use std::time::Instant;

/// The present instant.
#[expect(clippy::disallowed_methods, reason = "the one clock of this host")]
pub fn now() -> Instant {
    Instant::now()
}
