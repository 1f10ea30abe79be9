//! What must hold for any bytes; unit tests run it over corpora and fixed seeds, `fuzz/` over everything else.

pub mod json_payload;
pub mod utf8;
pub mod websocket_decoder;
