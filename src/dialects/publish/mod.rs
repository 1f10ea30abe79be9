//! The native ingest: `POST /publish`, and a WebSocket on the same path.

pub mod options;
