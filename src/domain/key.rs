//! The retry key of a batch: a pure function of what the batch is, so that the same batch, frozen again by a
//! restored database, meets LINE's 409, and two different bodies never share one.

use sha2::{Digest, Sha256};

use super::id::{CampaignSlug, StepName};
use super::time::Instant;

/// What tells one occurrence from every other of the same campaign.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OccurrenceIdentity {
    /// The LINE channel: accounts of one provider share user ids.
    pub channel_id: String,
    /// The campaign or drip.
    pub slug: CampaignSlug,
    /// The drip's step; none for a campaign.
    pub step: Option<StepName>,
    /// The due instant.
    pub due_at: Instant,
    /// `rerun = n` of a one-shot, the instant of a test send, or neither.
    pub run: Run,
    /// The number of a child occurrence of deferred friends, 0 for the parent.
    pub child: u32,
}

/// Which run of the same due instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Run {
    /// `rerun = n`; 0 is the first run.
    Scheduled(u32),
    /// A test send at this instant.
    Test(Instant),
}

/// Which body of the occurrence: batch `n`, re-batched `generation` times, child of `parent` if it is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BatchIdentity {
    /// The batch's number within the occurrence, from 0.
    pub n: u32,
    /// 0 at first; one more each time the refused rest goes out under a new key.
    pub generation: u32,
    /// The batch this one was cut from, if any.
    pub parent: Option<u32>,
}

/// A v4-shaped UUID, as LINE asks for in `X-Line-Retry-Key`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RetryKey([u8; 16]);

impl RetryKey {
    /// The key of these bytes. Every part is length-prefixed, so no two identities write the same input.
    pub fn derive(occurrence: &OccurrenceIdentity, batch: BatchIdentity, body_sha256: &[u8; 32]) -> Self {
        let mut hash = Sha256::new();
        let mut part = |bytes: &[u8]| {
            hash.update(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
            hash.update(bytes);
        };
        part(b"haishin retry key 1");
        part(occurrence.channel_id.as_bytes());
        part(occurrence.slug.as_str().as_bytes());
        part(occurrence.step.as_ref().map_or("", StepName::as_str).as_bytes());
        part(&occurrence.due_at.as_millis().to_be_bytes());
        match occurrence.run {
            Run::Scheduled(rerun) => part(&[&[0], rerun.to_be_bytes().as_slice()].concat()),
            Run::Test(at) => part(&[&[1], at.as_millis().to_be_bytes().as_slice()].concat()),
        }
        part(&occurrence.child.to_be_bytes());
        part(&batch.n.to_be_bytes());
        part(&batch.generation.to_be_bytes());
        part(&batch.parent.map_or(Vec::new(), |parent| parent.to_be_bytes().to_vec()));
        part(body_sha256);
        let digest = hash.finalize();
        let mut key = [0; 16];
        key.copy_from_slice(&digest[..16]);
        key[6] = (key[6] & 0x0f) | 0x40;
        key[8] = (key[8] & 0x3f) | 0x80;
        Self(key)
    }
}

impl std::fmt::Display for RetryKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let h = hex::encode(self.0);
        write!(f, "{}-{}-{}-{}-{}", &h[..8], &h[8..12], &h[12..16], &h[16..20], &h[20..])
    }
}

impl std::fmt::Debug for RetryKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn occurrence() -> OccurrenceIdentity {
        OccurrenceIdentity {
            channel_id: "1234567890".into(),
            slug: CampaignSlug::parse("winter-coupon").unwrap(),
            step: None,
            due_at: Instant::from_millis(1_796_374_800_000),
            run: Run::Scheduled(0),
            child: 0,
        }
    }

    /// Pinned: a change of this value would resend every open batch after an upgrade.
    #[test]
    fn the_key_is_pinned_and_v4_shaped() {
        let key =
            RetryKey::derive(&occurrence(), BatchIdentity { n: 0, generation: 0, parent: None }, &[7; 32]);
        assert_eq!(key.to_string(), "1d9b8110-8408-4c6d-be43-7dff4af14104");
    }

    #[test]
    fn every_part_of_the_identity_changes_the_key() {
        let batch = BatchIdentity { n: 0, generation: 0, parent: None };
        let base = occurrence();
        let mut keys = vec![RetryKey::derive(&base, batch, &[7; 32])];
        let mut with = |change: &dyn Fn(&mut OccurrenceIdentity)| {
            let mut other = base.clone();
            change(&mut other);
            keys.push(RetryKey::derive(&other, batch, &[7; 32]));
        };
        with(&|o| o.channel_id = "1234567891".into());
        with(&|o| o.slug = CampaignSlug::parse("winter-coupo").unwrap());
        with(&|o| o.step = StepName::parse("n").ok());
        with(&|o| o.due_at = Instant::from_millis(1_796_374_800_001));
        with(&|o| o.run = Run::Scheduled(1));
        with(&|o| o.run = Run::Test(Instant::from_millis(0)));
        with(&|o| o.child = 1);
        for batch in [
            BatchIdentity { n: 1, ..batch },
            BatchIdentity { generation: 1, ..batch },
            BatchIdentity { parent: Some(0), ..batch },
        ] {
            keys.push(RetryKey::derive(&base, batch, &[7; 32]));
        }
        keys.push(RetryKey::derive(&base, batch, &[8; 32]));
        let distinct: std::collections::HashSet<_> = keys.iter().collect();
        assert_eq!(distinct.len(), keys.len());
    }
}
