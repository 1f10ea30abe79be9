//! Dialect `push_stream`: channels over websocket, polls, streams and eventsource, resumed by `tag` and `time`.

pub mod channels;
pub mod cursor;
pub mod encoders;
pub mod options;
pub mod payload;
pub mod query;
pub mod reason;
pub mod template;
