//! What a transport promises, told as stories. Read next: `loopback.rs`, `tcp.rs`, `door.rs`.

mod common;
mod door;
mod loopback;
mod raw;
mod tcp;
