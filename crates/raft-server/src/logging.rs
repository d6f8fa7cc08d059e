//! Sets up logging: one line per event on stderr, as JSON or as text.
//!
//! Every line is written whole, with one system call: a supervisor that reads the pipe never sees
//! the lines of two threads mixed. Read next: `config.rs`, which chooses level and format.

use std::io;

use tracing_subscriber::filter::LevelFilter;

use crate::config::{LogFormat, LogLevel};

/// Starts logging for this process. A second call changes nothing.
pub fn start(level: LogLevel, format: LogFormat) {
    let filter = match level {
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
    };
    // tracing-subscriber formats an event into a buffer and writes it with one call; stderr itself
    // does not buffer. So a line is out when the event is over, which is what "the last words of a
    // crashed member" depend on.
    let builder = tracing_subscriber::fmt().with_max_level(filter).with_writer(io::stderr);
    let started = match format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Text => builder.with_ansi(false).try_init(),
    };
    // Only a process that already logs refuses, and then its choice stands.
    drop(started);
}
