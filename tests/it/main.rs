//! The one integration-test binary.

mod config;
mod planner;
mod schedule;
mod sends_oracle;
