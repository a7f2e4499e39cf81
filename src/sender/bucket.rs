//! The request rate of one account: a bucket that holds at most a tenth of a second and starts empty, so that
//! neither a restart nor a take-over can add up to more than LINE's limit.

use crate::domain::time::Span;

/// Tokens, on the clock that no wall-clock jump moves.
#[derive(Debug)]
pub struct Bucket {
    /// Requests a second; none is unlimited (loopback only).
    rate: Option<u32>,
    /// Millionths of a token.
    level: i64,
    at: Span,
}

const TOKEN: i64 = 1_000_000;

impl Bucket {
    /// An empty bucket.
    pub fn new(rate: Option<u32>, since_boot: Span) -> Self {
        Self { rate: rate.map(|rate| rate.max(1)), level: 0, at: since_boot }
    }

    /// Requests a second.
    pub fn rate(&self) -> Option<u32> {
        self.rate
    }

    /// Changes the rate and keeps what is in it.
    pub fn set_rate(&mut self, rate: Option<u32>) {
        self.rate = rate.map(|rate| rate.max(1));
    }

    /// Takes one token, if there is one.
    pub fn take(&mut self, since_boot: Span) -> bool {
        let Some(rate) = self.rate else { return true };
        self.refill(rate, since_boot);
        if self.level < TOKEN {
            return false;
        }
        self.level -= TOKEN;
        true
    }

    /// How long until there is a handful of tokens: what a fiftieth of a second gives, but at least one. Waking up
    /// for each would cost more than the requests do.
    pub fn wait(&mut self, since_boot: Span) -> Span {
        let Some(rate) = self.rate else { return Span::ZERO };
        self.refill(rate, since_boot);
        let missing = (i64::from(rate) / 50).max(1) * TOKEN - self.level;
        let per_ms = i64::from(rate) * (TOKEN / 1_000);
        Span::from_millis((missing.max(0) + per_ms - 1) / per_ms)
    }

    fn refill(&mut self, rate: u32, since_boot: Span) {
        let passed = since_boot.as_millis().saturating_sub(self.at.as_millis()).max(0);
        self.at = since_boot;
        // A tenth of a second, but never less than the one token without which nothing could be sent.
        let capacity = (i64::from(rate) * TOKEN / 10).max(TOKEN);
        let gained = passed.saturating_mul(i64::from(rate)).saturating_mul(TOKEN / 1_000);
        self.level = self.level.saturating_add(gained).min(capacity);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_more_than_the_rate_and_a_tenth_of_a_second() {
        for rate in [1, 7, 20, 200, 2_000] {
            let mut bucket = Bucket::new(Some(rate), Span::ZERO);
            assert!(!bucket.take(Span::ZERO), "starts empty");
            let mut sent = 0;
            for ms in 0..10_000 {
                while bucket.take(Span::from_millis(ms)) {
                    sent += 1;
                }
            }
            let allowed = i64::from(rate) * 10;
            assert!(sent <= allowed && sent >= allowed * 9_999 / 10_000 - 1, "{rate}/s: {sent} in 10 s");
            let mut burst = 0;
            while bucket.take(Span::from_hours(1)) {
                burst += 1;
            }
            assert!(burst <= (i64::from(rate) / 10).max(1) + 1, "a burst of {burst} at {rate}/s");
        }
    }

    #[test]
    fn the_wait_is_enough_and_no_rate_never_waits() {
        let mut bucket = Bucket::new(Some(20), Span::ZERO);
        let wait = bucket.wait(Span::ZERO);
        assert!(bucket.take(wait));
        let mut quick = Bucket::new(Some(200), Span::ZERO);
        let wait = quick.wait(Span::ZERO);
        assert_eq!((wait, (0..5).filter(|_| quick.take(wait)).count()), (Span::from_millis(20), 4));
        let mut open = Bucket::new(None, Span::ZERO);
        assert!((0..1_000).all(|_| open.take(Span::ZERO)));
    }
}
