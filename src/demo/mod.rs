//! The generated shop and its narrator.
