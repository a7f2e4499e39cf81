//! Sums without rounding, so that their order does not matter and a comparison means what it says.

use std::cmp::Ordering;

use super::rule::{Bound, Number};
use crate::domain::attribute::Value;

/// Bit 0 of the accumulator is worth 2^−1074, the smallest double.
const UNIT_BIT: u32 = 1074;
/// Doubles reach bit 2,098; the rest is room for 2^60 of the largest.
const LIMBS: usize = 70;
/// A limb holds 32 bits and carries in the other 31, enough for this many additions between normalisations.
const ADDITIONS: u32 = 1 << 30;

/// The exact sum of any mixture of 64-bit integers and finite doubles, as one long fixed-point number.
#[derive(Debug, Clone)]
pub struct ExactSum {
    limbs: [i64; LIMBS],
    since_normal: u32,
}

impl Default for ExactSum {
    fn default() -> Self {
        Self { limbs: [0; LIMBS], since_normal: 0 }
    }
}

impl ExactSum {
    /// Adds a number. A double that is not finite adds nothing: no value of a friend is one.
    pub fn add(&mut self, number: Number) {
        match number {
            Number::Integer(whole) => self.add_integer(whole.into()),
            Number::Double(double) => self.add_double(double, false),
        }
    }

    /// Adds a whole number, itself perhaps a sum.
    pub fn add_integer(&mut self, whole: i128) {
        let size = whole.unsigned_abs();
        for (part, bits) in
            [(0, size as u32), (1, (size >> 32) as u32), (2, (size >> 64) as u32), (3, (size >> 96) as u32)]
        {
            self.add_bits(UNIT_BIT + 32 * part, bits.into(), whole < 0);
        }
    }

    fn add_double(&mut self, double: f64, negate: bool) {
        if !double.is_finite() {
            return;
        }
        let bits = double.to_bits();
        let fraction = bits & ((1 << 52) - 1);
        let exponent = (bits >> 52) as u32 & 0x7ff;
        // A subnormal has the exponent of the smallest normal number and no hidden bit.
        let (size, shift) = if exponent == 0 { (fraction, 0) } else { (fraction | 1 << 52, exponent - 1) };
        self.add_bits(shift, size, double.is_sign_negative() != negate);
    }

    /// Adds ±size · 2^position; `size` has at most 53 bits, so it touches three limbs.
    fn add_bits(&mut self, position: u32, size: u64, negative: bool) {
        let wide = u128::from(size) << (position % 32);
        for (limb, part) in
            self.limbs.iter_mut().skip(position as usize / 32).zip([wide, wide >> 32, wide >> 64])
        {
            let part = i64::from(part as u32);
            *limb += if negative { -part } else { part };
        }
        self.since_normal += 1;
        if self.since_normal >= ADDITIONS {
            self.normalise();
        }
    }

    fn normalise(&mut self) {
        let mut carry = 0;
        for limb in &mut self.limbs[..LIMBS - 1] {
            let total = *limb + carry;
            *limb = total & 0xffff_ffff;
            carry = total >> 32;
        }
        self.limbs[LIMBS - 1] += carry;
        self.since_normal = 0;
    }

    /// How the sum stands to a constant; `None` for a constant that is not finite.
    pub fn compare(&self, constant: Number) -> Option<Ordering> {
        let mut rest = self.clone();
        match constant {
            Number::Integer(whole) => rest.add_integer(-i128::from(whole)),
            Number::Double(double) if double.is_finite() => rest.add_double(double, true),
            Number::Double(_) => return None,
        }
        rest.normalise();
        Some(match rest.limbs[LIMBS - 1].cmp(&0) {
            Ordering::Equal if rest.limbs.iter().any(|limb| *limb != 0) => Ordering::Greater,
            sign => sign,
        })
    }

    /// Whether all bounds hold for the sum.
    pub fn satisfies(&self, bounds: &[Bound<Number>]) -> bool {
        bounds.iter().all(|bound| match *bound {
            Bound::Eq(n) => self.compare(n) == Some(Ordering::Equal),
            Bound::Ne(n) => self.compare(n) != Some(Ordering::Equal),
            Bound::Gt(n) => self.compare(n) == Some(Ordering::Greater),
            Bound::Gte(n) => self.compare(n).is_some_and(Ordering::is_ge),
            Bound::Lt(n) => self.compare(n) == Some(Ordering::Less),
            Bound::Lte(n) => self.compare(n).is_some_and(Ordering::is_le),
        })
    }
}

impl Number {
    /// The number a value is, if it is one.
    pub fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Integer(whole) => Some(Self::Integer(*whole)),
            Value::Number(double) => Some(Self::Double(*double)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sum(numbers: &[Number]) -> ExactSum {
        let mut sum = ExactSum::default();
        numbers.iter().for_each(|number| sum.add(*number));
        sum
    }

    #[test]
    fn nothing_is_rounded_away() {
        use Number::{Double, Integer};
        let big = sum(&[Double(1e300), Integer(1), Double(-1e300)]);
        assert_eq!(big.compare(Integer(1)), Some(Ordering::Equal));
        // 2^53 + 1 has no double; the sum has it all the same.
        let odd = sum(&[Double(9_007_199_254_740_992.0), Double(1.0)]);
        assert_eq!(odd.compare(Integer(9_007_199_254_740_993)), Some(Ordering::Equal));
        assert_eq!(odd.compare(Double(9_007_199_254_740_992.0)), Some(Ordering::Greater));
        // The doubles nearest to 0.1 and 0.2 add up to a little more than the one nearest to 0.3.
        assert_eq!(sum(&[Double(0.1), Double(0.2)]).compare(Double(0.3)), Some(Ordering::Greater));
        let ends = sum(&[Integer(i64::MAX), Integer(i64::MAX), Integer(i64::MIN), Integer(i64::MIN)]);
        assert_eq!(ends.compare(Integer(-2)), Some(Ordering::Equal));
        let tiny = sum(&[Double(f64::from_bits(1)), Double(-f64::MAX), Double(f64::MAX)]);
        assert_eq!(tiny.compare(Double(0.0)), Some(Ordering::Greater));
        assert_eq!(sum(&[Double(-0.0)]).compare(Double(0.0)), Some(Ordering::Equal));
        assert_eq!(
            sum(&[Double(f64::MAX), Double(f64::MAX)]).compare(Double(f64::MAX)),
            Some(Ordering::Greater)
        );
        assert_eq!(sum(&[Double(f64::NAN)]).compare(Integer(0)), Some(Ordering::Equal));
    }

    proptest! {
        /// A sum minus its own terms, in another order, is nothing.
        #[test]
        fn order_does_not_matter(terms in prop::collection::vec(prop_oneof![
            any::<i64>().prop_map(Number::Integer),
            any::<f64>().prop_filter("finite", |d| d.is_finite()).prop_map(Number::Double),
        ], 0..20), constant in any::<i64>()) {
            let mut total = sum(&terms);
            total.add(Number::Integer(constant));
            for term in terms.iter().rev() {
                match *term {
                    Number::Integer(whole) => total.add_integer(-i128::from(whole)),
                    Number::Double(double) => total.add(Number::Double(-double)),
                }
            }
            prop_assert_eq!(total.compare(Number::Integer(constant)), Some(Ordering::Equal));
        }

        #[test]
        fn whole_numbers_agree_with_128_bits(terms in prop::collection::vec(any::<i64>(), 0..20), c in any::<i64>()) {
            let total: i128 = terms.iter().map(|t| i128::from(*t)).sum();
            let terms: Vec<_> = terms.into_iter().map(Number::Integer).collect();
            prop_assert_eq!(sum(&terms).compare(Number::Integer(c)), Some(total.cmp(&c.into())));
        }
    }
}
