//! The one integration-test binary.

mod schedule;
mod sends_oracle;
