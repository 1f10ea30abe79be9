//! What must hold whatever the bytes say: shared by unit tests and fuzz targets.

pub mod hub;
