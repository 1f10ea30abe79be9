//! The protocols that are spoken here: one line per dialect.

pub mod publish;
