//! CSV files to effects.
