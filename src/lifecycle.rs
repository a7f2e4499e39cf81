//! Signals, cancellation tokens, systemd notifications.
