//! What the operating system knows about this process, read from `/proc` when asked.
//!
//! A system without `/proc` has no such metrics: the families are left out rather than shown as
//! zero. Read next: `metrics.rs`.

use std::fs;

use super::exposition::{Exposition, MetricKind};
use super::series::as_float;

/// Writes the `process_` families and etcd's two names for open files.
pub(super) fn render(out: &mut Exposition) {
    if let Ok(stat) = fs::read_to_string("/proc/self/stat") {
        render_stat(&stat, boot_seconds(), out);
    }
    if let Some(open) = open_files() {
        gauge(out, "process_open_fds", "Number of open file descriptors.", open);
        gauge(out, "os_fd_used", "The number of used file descriptors.", open);
    }
    if let Some(limit) = fs::read_to_string("/proc/self/limits").ok().as_deref().and_then(limit) {
        gauge(out, "process_max_fds", "Maximum number of open file descriptors.", limit);
        gauge(out, "os_fd_limit", "The file descriptor limit.", limit);
    }
}

fn render_stat(stat: &str, boot: Option<u64>, out: &mut Exposition) {
    let Some(stat) = Stat::parse(stat) else { return };
    let seconds = as_float(stat.cpu_ticks) / TICKS_PER_SECOND;
    let name = "process_cpu_seconds_total";
    out.head(name, "Total user and system CPU time spent in seconds.", MetricKind::Counter);
    out.sample(name, &[], seconds);
    let resident = as_float(stat.resident_pages) * PAGE_BYTES;
    gauge(out, "process_resident_memory_bytes", "Resident memory size in bytes.", resident);
    let virtual_bytes = as_float(stat.virtual_bytes);
    gauge(out, "process_virtual_memory_bytes", "Virtual memory size in bytes.", virtual_bytes);
    if let Some(boot) = boot {
        let begin = as_float(boot) + as_float(stat.start_ticks) / TICKS_PER_SECOND;
        let help = "Start time of the process since unix epoch in seconds.";
        gauge(out, "process_start_time_seconds", help, begin);
    }
}

fn gauge(out: &mut Exposition, name: &str, help: &str, value: f64) {
    out.head(name, help, MetricKind::Gauge);
    out.sample(name, &[], value);
}

/// What we need of `/proc/self/stat`.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    cpu_ticks: u64,
    start_ticks: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The second field is the program's name in parentheses and may hold anything, blanks and
        // parentheses too; what follows its last one is regular, and begins with field 3.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            cpu_ticks: field(14)? + field(15)?,
            start_ticks: field(22)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
        })
    }
}

/// When this machine started, in seconds since 1970.
fn boot_seconds() -> Option<u64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    line.trim().parse().ok()
}

fn open_files() -> Option<f64> {
    // The listing itself holds one of them open.
    let count = fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1);
    u64::try_from(count).ok().map(as_float)
}

fn limit(limits: &str) -> Option<f64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The unit of times in `/proc`: `USER_HZ`, which Linux fixed at 100 for all programs.
const TICKS_PER_SECOND: f64 = 100.0;

/// The size of a page, in bytes, on the machines this server is built for.
const PAGE_BYTES: f64 = 4096.0;

#[cfg(test)]
mod tests {
    use super::*;

    /// A program's name with blanks and parentheses does not shift the fields behind it.
    #[test]
    fn the_line_of_proc_is_read_whatever_the_name() {
        let mut fields: Vec<String> = (3..=52).map(|number: u64| number.to_string()).collect();
        fields[0] = "S".into();
        let line = format!("7 (a) b ) {}", fields.join(" "));
        let expected =
            Stat { cpu_ticks: 29, start_ticks: 22, virtual_bytes: 23, resident_pages: 24 };
        assert_eq!(Stat::parse(&line), Some(expected));
        assert_eq!(Stat::parse("7 (a) S 1 2"), None, "a short line is no line");

        let mut out = Exposition::default();
        render_stat(&line, Some(1000), &mut out);
        let text = out.into_text();
        assert!(text.contains("\nprocess_cpu_seconds_total 0.29\n"), "{text}");
        assert!(text.contains("\nprocess_resident_memory_bytes 98304\n"), "{text}");
        assert!(text.contains("\nprocess_start_time_seconds 1000.22\n"), "{text}");
    }

    /// The limit of open files is the soft one; no limit is infinite.
    #[test]
    fn the_limit_of_open_files_is_read() {
        let table = "Limit  Soft Limit  Hard Limit  Units\nMax open files  1024  4096  files\n";
        assert_eq!(limit(table), Some(1024.0));
        assert_eq!(limit(""), None);
    }
}
