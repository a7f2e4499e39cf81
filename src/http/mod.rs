//! HTTP for ops: health, readiness, metrics.
