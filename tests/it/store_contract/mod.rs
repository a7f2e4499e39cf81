//! What a store does, each behaviour on both databases.

mod fence;
mod rows;
mod samples;
