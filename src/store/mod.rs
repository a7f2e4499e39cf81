//! The store: one interface of business steps, one adapter for each database, one conformance suite for both.
