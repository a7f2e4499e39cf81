//! Identifiers. A newtype each, so that none can be passed for another.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Why a text is not the identifier it was meant to be; reads after "invalid …:".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// A LINE user id is `U` and 32 lower-case hexadecimal digits.
    #[error("`{0}` is not a LINE user id (U and 32 lower-case hexadecimal digits)")]
    UserId(String),
    /// A slug names a file and appears in keys, URLs and logs.
    #[error("`{0}` is not a slug (1 to 64 letters, digits, `-` or `_`)")]
    Slug(String),
    /// Names (tags, attributes, events) are any text of 1 to 200 characters without control characters.
    #[error("`{0}` is not a name (1 to 200 characters, no control characters)")]
    Name(String),
}

macro_rules! slug_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Parses 1 to 64 letters, digits, `-` or `_`; order is by code point.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                let count = text.chars().count();
                let fits = (1..=64).contains(&count)
                    && text.chars().all(|c| c.is_alphanumeric() || c == '-' || c == '_');
                if fits { Ok(Self(text.into())) } else { Err(IdError::Slug(text.into())) }
            }
            /// The text itself.
            pub fn as_str(&self) -> &str { &self.0 }
        }
        text_impls!($name);
    };
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes the text as it is: nothing is trimmed, folded or normalised.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                let count = text.chars().count();
                let fits = (1..=200).contains(&count) && !text.chars().any(char::is_control);
                if fits { Ok(Self(text.into())) } else { Err(IdError::Name(text.into())) }
            }
            /// The text itself.
            pub fn as_str(&self) -> &str { &self.0 }
        }
        text_impls!($name);
    };
}

macro_rules! text_impls {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::parse(&text)
            }
        }
        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0.as_ref().to_owned()
            }
        }
        impl std::str::FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::parse(text)
            }
        }
        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

slug_type!(
    /// The name of an account in `haishin.toml` (`[accounts.SLUG]`).
    AccountSlug
);
slug_type!(
    /// A campaign's identity: its file's name without `.toml`.
    CampaignSlug
);
slug_type!(
    /// A step of a drip: its identity within the drip, whatever its place in the file.
    StepName
);
slug_type!(
    /// A segment's identity: its file's name without `.toml`.
    SegmentSlug
);
slug_type!(
    /// A category of sends (`promotion`, `news`, …): caps count by it.
    CategoryName
);
slug_type!(
    /// An arm of an A/B test.
    VariantName
);
slug_type!(
    /// A system of the shop's in `haishin.toml` (`[webhooks.NAME]`).
    WebhookName
);
name_type!(
    /// A label a friend holds, compared code point by code point.
    TagName
);
name_type!(
    /// A declared attribute of friends.
    AttributeName
);
name_type!(
    /// What happened to a friend: purchase, click, visit, …
    EventName
);
name_type!(
    /// A property of an event.
    PropertyName
);

/// The row id of an account in the database; never shown to a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AccountId(pub i64);

/// A friend's dense id within one account, from 0, never reused: what bitmaps hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FriendId(pub u32);

/// A journal entry's number within one account, from 1, without gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Seq(pub i64);

/// An occurrence's number within one account, from 1, given by the owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct OccurrenceId(pub i64);

/// A configuration version's number, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct VersionId(pub i64);

impl fmt::Display for OccurrenceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A LINE user id, `U` and 32 lower-case hexadecimal digits, kept as its 16 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserId(pub [u8; 16]);

impl UserId {
    /// Parses `^U[0-9a-f]{32}$`, the only form LINE gives.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let err = || IdError::UserId(text.chars().take(64).collect());
        let digits = text.strip_prefix('U').ok_or_else(err)?;
        if digits.len() != 32 || digits.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(err());
        }
        let mut bytes = [0; 16];
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| err())?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0; 32];
        // A 32-byte buffer always holds 16 bytes in hexadecimal.
        hex::encode_to_slice(self.0, &mut digits).map_err(|_| fmt::Error)?;
        write!(f, "U{}", std::str::from_utf8(&digits).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for UserId {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        Self::parse(&text)
    }
}

impl From<UserId> for String {
    fn from(user: UserId) -> String {
        user.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_id_is_u_and_32_lower_case_digits() {
        let text = "U0123456789abcdef0123456789abcdef";
        assert_eq!(UserId::parse(text).unwrap().to_string(), text);
        for bad in
            ["", "U", "u0123456789abcdef0123456789abcdef", "U0123456789ABCDEF0123456789abcdef", "U0123"]
        {
            assert!(UserId::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_slug_names_a_file() {
        assert!(CampaignSlug::parse("winter-coupon_2").is_ok());
        assert!(CampaignSlug::parse("冬のクーポン").is_ok());
        for bad in ["", "a b", "a/b", "..", &"x".repeat(65)] {
            assert!(CampaignSlug::parse(bad).is_err(), "{bad}");
        }
    }
}
