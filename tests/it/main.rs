//! The one integration-test binary.

mod schedule;
