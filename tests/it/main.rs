//! The one integration-test binary.

mod planner;
mod schedule;
mod sends_oracle;
