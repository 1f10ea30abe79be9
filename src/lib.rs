//! fanwire: one binary that holds hundreds of thousands of sockets and fans live updates out to them,
//! speaking the protocols that clients already speak.
//!
//! ```text
//!  clients ══ sockets ══╗
//!                       ║   ToHub (one queue, all reactors)
//!         Reactor 0..N ─╫───────────────────────────────▶ Hub ◀── Engine (the gate: stamped, in order)
//!   sessions, outboxes  ║ ◀───────────────────────────────╢
//!                       ║   ToReactor (one FIFO per reactor + waker)
//! ```
#![forbid(unsafe_code)]

pub mod access;
pub mod clock;
pub mod engine;
pub mod exchange;
pub mod http;
pub mod hub;
pub mod message;
pub mod metrics;
#[cfg(any(test, fuzzing))]
pub mod oracle;
pub mod session;
pub mod units;
