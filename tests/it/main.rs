mod segments_oracle;
//! The one integration-test binary.

mod schedule;
mod sends_oracle;
