//! The audience index: one account's friends in memory, as bitmaps and typed columns.
