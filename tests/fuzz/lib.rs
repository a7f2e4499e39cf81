//! The targets of the integration tests, and what they stand on, by path: the fuzzer runs the very code that the tests do.

#[allow(dead_code)]
#[path = "../it/segments_oracle/draw.rs"]
mod draw;
#[path = "../it/segments_oracle/naive.rs"]
mod naive;
#[path = "../it/fuzz/targets/mod.rs"]
pub mod targets;
