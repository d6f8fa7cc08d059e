//! What a transport promises, told as stories. Read next: `loopback.rs`.

mod common;
mod loopback;
