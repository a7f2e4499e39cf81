//! "Did you mean": the nearest of some names, and the half-width twin of full-width text.

/// The nearest candidate, if it is near enough to be a slip: equal when case, width, `-` and `_` are ignored, a
/// plural or a prefix, or few edits away.
pub(super) fn nearest<'c>(name: &str, candidates: impl Iterator<Item = &'c str>) -> Option<String> {
    let folded = fold(name);
    let score = |candidate: &str| {
        let other = fold(candidate);
        if other == folded {
            return Some(0.0);
        }
        let distance = strsim::damerau_levenshtein(&folded, &other);
        let length = folded.chars().count().max(other.chars().count());
        // One slip in three letters, two in five, three in eight …
        let allowed = (length + 1) / 3;
        (distance <= allowed).then(|| distance as f64 / length as f64)
    };
    let scored = candidates.filter_map(|candidate| Some((score(candidate)?, candidate)));
    let best = scored.min_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(b.1)))?;
    (best.1 != name).then(|| best.1.to_owned())
}

/// Whether two tags look like one, written twice.
pub(super) fn near_tags(one: &str, other: &str) -> bool {
    if one == other {
        return false;
    }
    if fold(one) == fold(other) {
        return true;
    }
    // `vip1` and `vip2` are two tags on purpose.
    let without_digits = |text: &str| text.chars().filter(|c| !c.is_numeric()).collect::<String>();
    let length = one.chars().count().max(other.chars().count());
    without_digits(one) != without_digits(other)
        && length >= 4
        && strsim::damerau_levenshtein(one, other) == 1
}

fn fold(name: &str) -> String {
    half_width(name).chars().filter(|c| !matches!(c, '-' | '_' | ' ')).flat_map(char::to_lowercase).collect()
}

/// The text with full-width ASCII, spaces and the dashes and colons Japanese keyboards give made half-width.
pub(super) fn half_width(text: &str) -> String {
    text.chars().map(|c| half_width_char(c).unwrap_or(c)).collect()
}

/// The half-width twin of a full-width character.
pub(super) fn half_width_char(c: char) -> Option<char> {
    match c {
        '\u{3000}' | '\u{a0}' => Some(' '),
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xfee0),
        '“' | '”' | '„' | '「' | '」' | '『' | '』' | '〝' | '〟' => Some('"'),
        '‘' | '’' => Some('\''),
        '、' => Some(','),
        '。' => Some('.'),
        '【' | '〔' => Some('['),
        '】' | '〕' => Some(']'),
        '−' | '‐' | '–' | '—' => Some('-'),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_found_and_strangers_are_not() {
        let keys = ["schedule", "segment", "holdout", "coupon_id", "at", "title"];
        let near = |name| nearest(name, keys.iter().copied());
        assert_eq!(near("shedule").as_deref(), Some("schedule"));
        assert_eq!(near("hold_out").as_deref(), Some("holdout"));
        assert_eq!(near("couponId").as_deref(), Some("coupon_id"));
        assert_eq!(near("ｔｉｔｌｅ").as_deref(), Some("title"));
        assert_eq!(near("recipients"), None);
    }

    #[test]
    fn numbered_tags_are_two_tags() {
        assert!(near_tags("購入済み", "購入済"));
        assert!(near_tags("VIP", "ｖｉｐ"));
        assert!(!near_tags("rank-1", "rank-2"));
        assert!(!near_tags("体験", "経験"));
    }
}
