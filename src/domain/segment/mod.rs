//! Segments: a rule as data, and its evaluation over sets of friends or over one friend.

pub mod rule;
