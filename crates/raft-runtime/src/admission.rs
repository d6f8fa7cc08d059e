//! Bytes of proposals between their callers and the log: bounded before memory grows.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes accepted from callers and not yet answered.
#[derive(Debug)]
pub(crate) struct Admission {
    used_bytes: AtomicU64,
    bytes_max: u64,
}

impl Admission {
    pub(crate) const fn new(bytes_max: u64) -> Self {
        Self { used_bytes: AtomicU64::new(0), bytes_max }
    }

    /// Lets a proposal in, unless too many bytes are under way.
    pub(crate) fn enter(&self, bytes: u64) -> Option<Admitted<'_>> {
        let before = self.used_bytes.fetch_add(bytes, Ordering::Relaxed);
        let admitted = Admitted { admission: self, bytes };
        // A lone proposal passes whatever its size: the limit on commands is another one.
        (before == 0 || before + bytes <= self.bytes_max).then_some(admitted)
    }

    /// Bytes under way.
    pub(crate) fn used_bytes(&self) -> u64 {
        self.used_bytes.load(Ordering::Relaxed)
    }
}

/// A proposal that was let in; its bytes are given back when dropped.
#[derive(Debug)]
pub(crate) struct Admitted<'a> {
    admission: &'a Admission,
    bytes: u64,
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        self.admission.used_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes come back when a proposal ends, whichever way, and a lone large one passes.
    #[test]
    fn admission_is_bounded_and_comes_back_to_zero() {
        let admission = Admission::new(100);
        let large = admission.enter(500);
        assert!(large.is_some() && admission.enter(1).is_none());
        drop(large);
        let (a, b) = (admission.enter(60), admission.enter(40));
        assert!(a.is_some() && b.is_some() && admission.enter(1).is_none());
        drop((a, b));
        assert_eq!(admission.used_bytes(), 0);
    }
}
