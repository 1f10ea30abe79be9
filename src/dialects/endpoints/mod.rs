//! Records over HTTP, their changes over WebSockets: RESTED_DEV and YAWE.

pub mod account;
pub mod checks;
pub mod cookies;
pub mod name;
pub mod options;
pub mod password;
pub mod preset;
pub mod query;
pub mod route;
pub mod token;
pub mod upload;
