//! Counters, gauges, histograms, and families of them by label: numbers that many threads store
//! and one reader renders.
//!
//! Each number is an atomic on its own. A rendering is no snapshot over all of them; Prometheus
//! does not ask for one. Read next: `metrics/exposition.rs`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use super::exposition::{Exposition, MetricKind};

/// What can be shown under one name.
pub trait Series {
    /// What the TYPE line says.
    const KIND: MetricKind;

    /// Writes the samples under `name`, each with these labels.
    fn write(&self, name: &str, labels: &[(&str, &str)], out: &mut Exposition);
}

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Zero.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Counts one more.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Counts `count` more.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// Takes over what somebody else counts; a lower number than before is ignored.
    pub fn raise_to(&self, total: u64) {
        self.0.fetch_max(total, Ordering::Relaxed);
    }

    /// The count.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Series for Counter {
    const KIND: MetricKind = MetricKind::Counter;

    fn write(&self, name: &str, labels: &[(&str, &str)], out: &mut Exposition) {
        out.sample(name, labels, as_float(self.value()));
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Zero.
    pub const fn new() -> Self {
        // The bits of 0.0 are zero.
        Self(AtomicU64::new(0))
    }

    /// Stores a number.
    pub fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }

    /// Stores a count.
    pub fn set_count(&self, value: u64) {
        self.set(as_float(value));
    }

    /// Stores 1 for true and 0 for false.
    pub fn set_flag(&self, value: bool) {
        self.set(f64::from(u8::from(value)));
    }

    /// Adds a number, below zero to subtract.
    pub fn add(&self, value: f64) {
        add_float(&self.0, value);
    }

    /// The number.
    pub fn value(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }
}

impl Series for Gauge {
    const KIND: MetricKind = MetricKind::Gauge;

    fn write(&self, name: &str, labels: &[(&str, &str)], out: &mut Exposition) {
        out.sample(name, labels, self.value());
    }
}

/// How often a number fell below each of some bounds.
#[derive(Debug)]
pub struct Histogram {
    /// Upper bounds, ascending, inclusive; above the last comes infinity.
    bounds: Vec<f64>,
    /// One count per bound and one for infinity, not cumulative.
    counts: Vec<AtomicU64>,
    /// The sum of all observations, as the bits of a float.
    sum: AtomicU64,
}

impl Histogram {
    /// `count` bounds, the first at `start`, each `factor` times the one before.
    pub fn exponential(start: f64, factor: f64, count: u32) -> Self {
        let bounds = std::iter::successors(Some(start), |bound| Some(bound * factor));
        Self::with_bounds(bounds.take(count as usize).collect())
    }

    /// These upper bounds.
    ///
    /// # Panics
    ///
    /// If they do not ascend.
    pub fn with_bounds(bounds: Vec<f64>) -> Self {
        assert!(bounds.is_sorted_by(|low, high| low < high), "bounds ascend");
        let counts = bounds.iter().map(|_| AtomicU64::new(0)).chain([AtomicU64::new(0)]).collect();
        Self { bounds, counts, sum: AtomicU64::new(0) }
    }

    /// Counts one observation.
    pub fn observe(&self, value: f64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        add_float(&self.sum, value);
    }

    /// Takes over what was counted elsewhere with the same bounds: one count per bound and one for
    /// infinity, not cumulative, and the sum of all observations.
    pub fn take_over(&self, counts: &[u64], sum: f64) {
        for (mine, theirs) in self.counts.iter().zip(counts) {
            mine.store(*theirs, Ordering::Relaxed);
        }
        self.sum.store(sum.to_bits(), Ordering::Relaxed);
    }

    /// Counts one duration, in seconds.
    pub fn observe_duration(&self, duration: Duration) {
        self.observe(duration.as_secs_f64());
    }
}

impl Series for Histogram {
    const KIND: MetricKind = MetricKind::Histogram;

    fn write(&self, name: &str, labels: &[(&str, &str)], out: &mut Exposition) {
        let bucket_name = format!("{name}_bucket");
        let mut total = 0;
        let bounds = self.bounds.iter().copied().chain([f64::INFINITY]);
        for (bound, count) in bounds.zip(&self.counts) {
            total += count.load(Ordering::Relaxed);
            let bound = super::exposition::number(bound);
            let labels: Vec<_> = labels.iter().copied().chain([("le", bound.as_str())]).collect();
            out.sample(&bucket_name, &labels, as_float(total));
        }
        let sum = f64::from_bits(self.sum.load(Ordering::Relaxed));
        out.sample(&format!("{name}_sum"), labels, sum);
        out.sample(&format!("{name}_count"), labels, as_float(total));
    }
}

/// Series of one kind under one name, told apart by labels.
#[derive(Debug)]
pub struct Family<S> {
    labels: &'static [&'static str],
    make: fn() -> S,
    series: RwLock<BTreeMap<Vec<String>, Arc<S>>>,
}

impl<S: Default> Family<S> {
    /// No series yet; each will have these labels.
    pub fn new(labels: &'static [&'static str]) -> Self {
        Self::with_maker(labels, S::default)
    }
}

impl Family<Histogram> {
    /// No histogram yet; each will have these labels and be made by `make`.
    pub fn with(labels: &'static [&'static str], make: fn() -> Histogram) -> Self {
        Self::with_maker(labels, make)
    }
}

impl<S> Family<S> {
    fn with_maker(labels: &'static [&'static str], make: fn() -> S) -> Self {
        Self { labels, make, series: RwLock::new(BTreeMap::new()) }
    }

    /// The series with these values of the labels, made now if there is none. Keep it where it is
    /// used often: this looks it up.
    ///
    /// # Panics
    ///
    /// If the number of values is not the number of labels.
    pub fn at(&self, values: &[&str]) -> Arc<S> {
        assert_eq!(values.len(), self.labels.len(), "one value per label");
        let key: Vec<String> = values.iter().map(ToString::to_string).collect();
        // A panic elsewhere cannot leave a map of atomics half written.
        if let Some(series) = self.series.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Arc::clone(series);
        }
        let mut series = self.series.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(series.entry(key).or_insert_with(|| Arc::new((self.make)())))
    }

    /// Forgets all series, as when the one true label changes.
    pub fn clear(&self) {
        self.series.write().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl<S: Series> Series for Family<S> {
    const KIND: MetricKind = S::KIND;

    fn write(&self, name: &str, labels: &[(&str, &str)], out: &mut Exposition) {
        for (values, series) in self.series.read().unwrap_or_else(PoisonError::into_inner).iter() {
            let own = self.labels.iter().copied().zip(values.iter().map(String::as_str));
            let labels: Vec<_> = labels.iter().copied().chain(own).collect();
            series.write(name, &labels, out);
        }
    }
}

/// Adds to the bits of a float, whoever else adds at the same time.
fn add_float(bits: &AtomicU64, value: f64) {
    let add = |old: u64| Some((f64::from_bits(old) + value).to_bits());
    // The closure never gives up, so neither does the update.
    _ = bits.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
}

/// Prometheus knows floats only; counts above 2^53 lose their last digits, as everywhere.
#[expect(clippy::cast_precision_loss, reason = "the format has no integers")]
pub(super) fn as_float(count: u64) -> f64 {
    count as f64
}
