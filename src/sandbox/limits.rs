//! Rate limits as LINE has them: a token bucket for each channel and endpoint, refilled gradually.

use super::fault::Endpoint;
use super::settings::RateLimits;
use crate::domain::time::Instant;

/// A bucket that holds a second's worth and refills by the millisecond.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// Requests a second; also what the bucket holds.
    rate: i64,
    /// Thousandths of a request left.
    left: i64,
    filled_at: Option<Instant>,
}

impl Bucket {
    const fn full(rate: i64) -> Self {
        Self { rate, left: rate * 1_000, filled_at: None }
    }

    /// Takes one request's worth. A clock that went back refills nothing.
    fn take(&mut self, now: Instant) -> bool {
        let passed = self.filled_at.map_or(0, |at| (now - at).as_millis().max(0));
        self.filled_at = Some(now);
        self.left = self.left.saturating_add(passed.saturating_mul(self.rate)).min(self.rate * 1_000);
        let granted = self.left >= 1_000;
        if granted {
            self.left -= 1_000;
        }
        granted
    }
}

/// The buckets of one channel.
#[derive(Debug)]
pub(super) struct Buckets {
    limits: RateLimits,
    multicast: Bucket,
    others: [Bucket; 7],
}

impl Buckets {
    pub(super) const fn new(limits: RateLimits) -> Self {
        Self { limits, multicast: Bucket::full(200), others: [Bucket::full(2_000); 7] }
    }

    /// Whether one more request of this endpoint is within its rate; it is counted if so.
    pub(super) fn take(&mut self, endpoint: Endpoint, now: Instant) -> bool {
        if self.limits == RateLimits::Off {
            return true;
        }
        let [token, validate, quota, consumption, info, link, unlink] = &mut self.others;
        let bucket = match endpoint {
            Endpoint::Multicast => &mut self.multicast,
            Endpoint::Token => token,
            Endpoint::ValidateMulticast => validate,
            Endpoint::Quota => quota,
            Endpoint::Consumption => consumption,
            Endpoint::BotInfo => info,
            Endpoint::LinkRichMenu => link,
            Endpoint::UnlinkRichMenu => unlink,
        };
        bucket.take(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_bucket_may_be_spent_at_once_and_refills_gradually() {
        let mut buckets = Buckets::new(RateLimits::Line);
        let at = |ms: i64| Instant::from_millis(1_796_374_800_000 + ms);
        let mut granted = |ms| (0..1_000).filter(|_| buckets.take(Endpoint::Multicast, at(ms))).count();
        assert_eq!(granted(0), 200);
        assert_eq!(granted(4), 0);
        assert_eq!(granted(5), 1);
        assert_eq!(granted(505), 100);
        assert_eq!(granted(100), 0);
        assert_eq!(granted(60_000), 200);
    }

    #[test]
    fn each_endpoint_has_its_own() {
        let mut buckets = Buckets::new(RateLimits::Line);
        let now = Instant::from_millis(0);
        while buckets.take(Endpoint::Multicast, now) {}
        assert_eq!((0..3_000).filter(|_| buckets.take(Endpoint::Quota, now)).count(), 2_000);
        assert!(buckets.take(Endpoint::Consumption, now));
    }
}
