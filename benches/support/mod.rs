//! What the benches share: parameters, rounds and tables; a population; a shop on disk with the real daemon.
#![allow(dead_code, reason = "each bench is a program of its own and uses a part of this")]

pub mod measure;
pub mod population;
pub mod shop;
