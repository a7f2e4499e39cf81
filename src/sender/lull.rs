//! LINE asks to wait (429): an account's requests then leave one by one, ever more seldom, until LINE takes one. It is the
//! account that is asked, so its batches do not each ask again by themselves: in ten minutes that would be thousands of
//! requests for nothing.

use crate::domain::time::Span;
use crate::line::{Answer, Attempt};

use super::back_off::back_off;

/// Whether LINE has asked to wait, and how long yet. On the clock that no wall-clock jump moves.
#[derive(Debug, Default)]
pub struct Lull(Option<Waiting>);

#[derive(Debug, Clone, Copy)]
struct Waiting {
    since: Span,
    refusals: u32,
    until: Span,
}

impl Lull {
    /// Takes in what an attempt told. Without jitter: there is one request at a time, which meets nobody.
    pub fn hear(&mut self, attempt: &Attempt, since_boot: Span) {
        match attempt.answer {
            Answer::TooManyRequests { .. } => {
                // What was under way together is refused together, once.
                if self.wait(since_boot) > Span::ZERO {
                    return;
                }
                let (since, refusals) = self.0.map_or((since_boot, 0), |one| (one.since, one.refusals));
                let refusals = refusals.saturating_add(1);
                let lasting = Span::from_millis(since_boot.as_millis().saturating_sub(since.as_millis()));
                let wait = back_off(refusals, lasting, 0.0).max(attempt.retry_after.unwrap_or_default());
                let until = Span::from_millis(since_boot.as_millis().saturating_add(wait.as_millis()));
                self.0 = Some(Waiting { since, refusals, until });
            }
            Answer::Accepted
            | Answer::AlreadyAccepted { .. }
            | Answer::BadRequest { .. }
            | Answer::Forbidden
            | Answer::PayloadTooLarge
            | Answer::OtherRefusal(_) => self.0 = None,
            Answer::RetryKeyConflictWithoutId
            | Answer::Unauthorized
            | Answer::StaleToken
            | Answer::ServerError(_)
            | Answer::Unexpected(_)
            | Answer::Timeout
            | Answer::ConnectionLost
            | Answer::NeverSent => {}
        }
    }

    /// How long until a request may leave.
    pub fn wait(&self, since_boot: Span) -> Span {
        let left = self.0.map_or(0, |one| one.until.as_millis().saturating_sub(since_boot.as_millis()));
        Span::from_millis(left.max(0))
    }

    /// How many requests may be under way, where `most` may while LINE takes them.
    pub fn allows(&self, since_boot: Span, most: usize) -> usize {
        match self.0 {
            None => most,
            Some(_) if self.wait(since_boot) > Span::ZERO => 0,
            Some(_) => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::LimitHint;

    fn told(answer: Answer) -> Attempt {
        Attempt::unanswered(answer)
    }

    fn refused() -> Attempt {
        told(Answer::TooManyRequests { hint: LimitHint::Rate })
    }

    #[test]
    fn refused_together_is_refused_once_and_then_one_by_one() {
        let (mut lull, ms) = (Lull::default(), Span::from_millis);
        assert_eq!(lull.allows(ms(0), 64), 64);
        (0..64).for_each(|_| lull.hear(&refused(), ms(1_000)));
        assert_eq!((lull.wait(ms(1_000)), lull.allows(ms(1_199), 64)), (ms(200), 0));
        assert_eq!(lull.allows(ms(1_200), 64), 1);
        lull.hear(&told(Answer::Timeout), ms(1_300));
        assert_eq!(lull.allows(ms(1_300), 64), 1);
        lull.hear(&refused(), ms(1_300));
        assert_eq!(lull.wait(ms(1_300)), ms(400));
        lull.hear(&told(Answer::Accepted), ms(1_400));
        assert_eq!(lull.allows(ms(1_400), 64), 64);
    }

    #[test]
    fn it_asks_ever_more_seldom_and_no_sooner_than_line_says() {
        let (mut lull, mut now, mut asked) = (Lull::default(), Span::ZERO, 0);
        while now < Span::from_mins(10) {
            lull.hear(&refused(), now);
            now = Span::from_millis(now.as_millis() + lull.wait(now).as_millis());
            asked += 1;
        }
        assert!((120..130).contains(&asked), "{asked}");
        lull.hear(&refused(), now);
        assert_eq!(lull.wait(now), Span::from_mins(1));
        let mut told = Lull::default();
        told.hear(&Attempt { retry_after: Some(Span::from_secs(30)), ..refused() }, Span::ZERO);
        assert_eq!(told.wait(Span::ZERO), Span::from_secs(30));
    }
}
