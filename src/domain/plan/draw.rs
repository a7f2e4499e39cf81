//! Who is held out and who gets which variant: a hash, so that nothing has to be stored for it to stay the same.
//!
//! The digest is SHA-256 over the campaign's seed and the user id, the seed SHA-256 over the length-prefixed account and
//! campaign slugs: 48 bytes, so that a million draws cost a million compressions. Bytes 0–7, big-endian, draw the
//! holdout, bytes 8–15 the variant and bytes 16–23 the sample, so none tells anything about another. A draw of 64 bits is scaled to a
//! range by the upper half of the product, which favours no outcome by more than 2⁻⁴⁴ of its share.

use sha2::{Digest, Sha256};

use crate::domain::campaign::{Dispatch, VariantShare};
use crate::domain::id::UserId;
use crate::domain::policy::Share;

/// The draws of one campaign or drip.
pub struct Draws<'a> {
    seed: [u8; 32],
    dispatch: &'a Dispatch,
}

/// What one friend drew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Draw {
    /// Held out: gets nothing of the campaign.
    pub held_out: bool,
    /// The index of the variant.
    pub variant: usize,
}

impl<'a> Draws<'a> {
    /// The draws of a campaign or drip, the same in each step. Changing any word of this digest would move every
    /// friend to another arm.
    pub fn of(dispatch: &'a Dispatch) -> Self {
        let mut seed = Sha256::new();
        for part in ["haishin draw 1", dispatch.account.as_str(), dispatch.slug.as_str()] {
            seed.update(u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
            seed.update(part);
        }
        Self { seed: seed.finalize().into(), dispatch }
    }

    /// Whether every friend draws the same, so that no digest is needed: no holdout and one variant.
    fn is_constant(&self) -> bool {
        self.dispatch.holdout == Share::NONE && self.dispatch.variants.len() < 2
    }

    /// What a friend drew.
    pub fn draw(&self, user: &UserId) -> Draw {
        if self.is_constant() {
            return Draw { held_out: false, variant: 0 };
        }
        let [holdout, variant, _] = self.numbers(user);
        let held_out = scaled(holdout, MILLION) < u64::from(self.dispatch.holdout.millionths());
        Draw { held_out, variant: self.variant(variant) }
    }

    /// A friend's place in the order in which samples are drawn: a sample is the first so many of whoever is left.
    pub fn place_in_sample(&self, user: &UserId) -> u64 {
        self.numbers(user)[2]
    }

    fn numbers(&self, user: &UserId) -> [u64; 3] {
        let digest = Sha256::new().chain_update(self.seed).chain_update(user.0).finalize();
        let mut numbers = digest
            .chunks_exact(8)
            .map(|bytes| bytes.iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte)));
        [(); 3].map(|()| numbers.next().unwrap_or_default())
    }

    fn variant(&self, number: u64) -> usize {
        let variants = &self.dispatch.variants;
        let last = variants.len().saturating_sub(1);
        let mut up_to = 0;
        let point = scaled(number, MILLION);
        for (index, variant) in variants.iter().enumerate() {
            match &variant.share {
                VariantShare::Equal | VariantShare::Branch(_) => {
                    return scaled(number, variants.len() as u64) as usize;
                }
                VariantShare::Share(share) => up_to += u64::from(share.millionths()),
            }
            if point < up_to {
                return index;
            }
        }
        last
    }
}

const MILLION: u64 = 1_000_000;

/// A number of 64 bits scaled to `0..range`.
fn scaled(number: u64, range: u64) -> u64 {
    ((u128::from(number) * u128::from(range)) >> 64) as u64
}
