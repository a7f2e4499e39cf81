//! What tests of several topics share.

pub mod daemon;
pub mod faulty;
pub mod ledger;
pub mod postgres;
pub mod power;
pub mod shop;
pub mod store;
pub mod systems;
pub mod world;

/// A number from the environment, for a longer run.
pub fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a whole number, not `{text}`")))
}

/// The same where it counts friends, days or kills.
pub fn count(name: &str) -> Option<u32> {
    number(name).map(|count| u32::try_from(count).unwrap_or_else(|_| panic!("{name} is too large")))
}

/// How long something is waited for that takes a moment: much longer than on a machine that is busy with other things,
/// and shorter where whoever runs it would rather hear that it never comes.
pub fn patience() -> std::time::Duration {
    std::time::Duration::from_secs(number("HAISHIN_PATIENCE_SECONDS").unwrap_or(300))
}
