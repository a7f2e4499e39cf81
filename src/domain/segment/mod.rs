//! Segments: a rule as data, and its evaluation over sets of friends or over one friend.
//!
//! [`evaluate`] folds a rule; what a leaf means for values, instants and sums stands in [`value_test`], [`window`]
//! and [`sum`]. Who holds the facts (the audience index) answers leaves and nothing else.

pub mod evaluate;
pub mod ranges;
pub mod rule;
pub mod sum;
pub mod value_test;
pub mod window;
