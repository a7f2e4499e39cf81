//! What tests of several topics share.

pub mod store;
