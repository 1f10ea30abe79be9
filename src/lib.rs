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
//!
//! **A publish.** A socket is readable: a [`reactor`] reads it, [`http`] completes the request, a session of
//! [`dialects`] wishes to publish. The [`hub`] stamps the message, has the [`engine`] release it, and tells every
//! reactor with a listener, then the publisher. Each reactor makes one frame of consecutive messages and puts it into
//! the outbox of everybody who listens there.
//!
//! **A subscribe.** A dialect checks who asks and for what, and wishes to join. The hub attaches all topics or none, and
//! says where each begins. If that lies before the present, the connection reads bounded pages of the log until it has
//! caught up; from then on it is live.
//!
//! `docs/ARCHITECTURE.md` has the rules that keep this correct.
#![forbid(unsafe_code)]

pub mod access;
pub mod cli;
pub mod clock;
pub mod config;
pub mod dialects;
pub mod engine;
pub mod exchange;
pub mod http;
pub mod hub;
pub mod json;
pub mod message;
pub mod metrics;
#[cfg(any(test, fuzzing))]
pub mod oracle;
pub mod pace;
pub mod reactor;
pub mod record;
pub mod server;
pub mod session;
pub mod storage;
pub mod units;
pub mod websocket;
pub mod workers;
