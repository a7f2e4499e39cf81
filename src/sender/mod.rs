//! Batches, strides, keys: from a frozen occurrence to LINE and back to the ledger.
