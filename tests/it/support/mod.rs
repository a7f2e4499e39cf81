//! What tests of several topics share.

pub mod postgres;
pub mod shop;
pub mod store;
