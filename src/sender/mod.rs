//! Batches, strides, keys: from a frozen occurrence to LINE and back to the ledger (protocol §5).

pub mod back_off;
pub mod bucket;
pub mod lull;
pub mod run;
