//! Logs and metrics: one vocabulary.
