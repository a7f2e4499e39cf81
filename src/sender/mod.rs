//! Batches, strides, keys: from a frozen occurrence to LINE and back to the ledger.

pub mod back_off;
pub mod bucket;
pub mod lull;
pub mod run;
