//! What a transport promises, told as stories. Read next: `loopback.rs`, `tcp.rs`, `door.rs`,
//! `fetch.rs`.

mod common;
mod door;
mod fetch;
mod loopback;
mod raw;
mod tcp;
