//! LINE's Messaging API: client, answers and what they mean.
