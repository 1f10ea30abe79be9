//! The protocols that are spoken here, pure and knowing nothing of each other: one line per dialect.

pub mod action_cable;
pub mod admin;
pub mod endpoints;
pub mod publish;
pub mod push_stream;
pub mod resources;
