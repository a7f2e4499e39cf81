//! What tests of several topics share.

pub mod daemon;
pub mod faulty;
pub mod ledger;
pub mod postgres;
pub mod power;
pub mod shop;
pub mod store;
pub mod systems;
pub mod world;
