//! How long a batch waits between attempts.

use crate::domain::time::Span;

/// How long to wait before attempt number `failures + 1`: 0.2 s doubling to 5 s, 60 s once it has failed for ten
/// minutes; `jitter` in 0..1 takes off up to half, so that batches that failed together do not return together.
pub fn back_off(failures: u32, failing_for: Span, jitter: f64) -> Span {
    let full = if failing_for >= Span::from_mins(10) {
        60_000
    } else {
        200_i64.checked_shl(failures.saturating_sub(1).min(20)).unwrap_or(i64::MAX).clamp(200, 5_000)
    };
    let taken = (full as f64 / 2.0 * jitter.clamp(0.0, 1.0)) as i64;
    Span::from_millis(full - taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_off_doubles_to_5_s_and_is_a_minute_after_ten() {
        let plain: Vec<i64> = (1..=7).map(|n| back_off(n, Span::ZERO, 0.0).as_millis()).collect();
        assert_eq!(plain, [200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
        assert_eq!(back_off(u32::MAX, Span::ZERO, 0.0), Span::from_secs(5));
        assert_eq!(back_off(9, Span::from_mins(10), 0.0), Span::from_secs(60));
        assert_eq!(back_off(1, Span::ZERO, 1.0), Span::from_millis(100));
    }
}
