//! Configuration: files to validated campaigns, with diagnostics of all problems at once.
