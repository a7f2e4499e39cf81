//! Who may use the API: tokens and their scopes.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// What a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Scope {
    /// Say what events happened.
    EventsWrite,
    /// Have friends forgotten.
    FriendsDelete,
    /// Read one friend's record.
    FriendsRead,
    /// Say what friends are.
    FriendsWrite,
}

/// A word that is no scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no scope: write friends:read, friends:write, friends:delete or events:write")]
pub struct NoScope(pub String);

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 4] =
        [Self::EventsWrite, Self::FriendsDelete, Self::FriendsRead, Self::FriendsWrite];

    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EventsWrite => "events:write",
            Self::FriendsDelete => "friends:delete",
            Self::FriendsRead => "friends:read",
            Self::FriendsWrite => "friends:write",
        }
    }
}

impl FromStr for Scope {
    type Err = NoScope;

    fn from_str(text: &str) -> Result<Self, NoScope> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text).ok_or_else(|| NoScope(text.to_owned()))
    }
}

impl TryFrom<String> for Scope {
    type Error = NoScope;
    fn try_from(text: String) -> Result<Self, NoScope> {
        text.parse()
    }
}

impl From<Scope> for String {
    fn from(scope: Scope) -> String {
        scope.as_str().to_owned()
    }
}

/// A set of scopes; as text their words, separated by blanks.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Scopes(BTreeSet<Scope>);

impl Scopes {
    /// Reads words separated by blanks.
    ///
    /// # Errors
    /// One of them is no scope.
    pub fn parse(text: &str) -> Result<Self, NoScope> {
        text.split_ascii_whitespace().map(str::parse).collect::<Result<_, _>>().map(Self)
    }

    /// Whether one is among them.
    pub fn contains(&self, scope: Scope) -> bool {
        self.0.contains(&scope)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().collect())
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<&str> = self.0.iter().map(|scope| scope.as_str()).collect();
        f.write_str(&words.join(" "))
    }
}

/// A token's number. It is part of the token's text, and no secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TokenId(pub i64);

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A token as its holder has it: `haishin_12_` and the 64 hexadecimal digits of a secret. Never printed but once.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// Which.
    pub id: TokenId,
    /// 256 random bits.
    pub secret: Secret,
}

/// 256 random bits that prove who asks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secret(pub [u8; 32]);

/// Hides it: no log line and no error may show one.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}_…", self.id)
    }
}

const PREFIX: &str = "haishin_";

impl Token {
    /// Reads a token's text.
    pub fn parse(text: &str) -> Option<Self> {
        let (id, digits) = text.strip_prefix(PREFIX)?.split_once('_')?;
        if id.bytes().any(|b| !b.is_ascii_digit()) || digits.bytes().any(|b| b.is_ascii_uppercase()) {
            return None;
        }
        let mut secret = [0; 32];
        hex::decode_to_slice(digits, &mut secret).ok()?;
        Some(Self { id: TokenId(id.parse().ok()?), secret: Secret(secret) })
    }

    /// Its text: for its holder, once.
    pub fn text(&self) -> String {
        format!("{PREFIX}{}_{}", self.id, hex::encode(self.secret.0))
    }
}

impl Secret {
    /// What is kept of it.
    pub fn digest(&self) -> TokenDigest {
        TokenDigest(Sha256::digest(self.0).into())
    }
}

/// SHA-256 of a secret. The secret is 256 random bits, so nothing slower is needed to keep it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenDigest([u8; 32]);

impl TokenDigest {
    /// One that was stored.
    pub const fn stored(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// What is stored of it.
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether it is this secret's, in a time that does not tell how nearly.
    pub fn is_of(&self, secret: &Secret) -> bool {
        self.0.ct_eq(&secret.digest().0).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_was_printed_and_never_shown() {
        let token = Token { id: TokenId(12), secret: Secret([0xab; 32]) };
        let text = token.text();
        assert_eq!(Token::parse(&text), Some(token.clone()));
        assert_eq!(format!("{token:?} {:?}", token.secret), "haishin_12_… …");
        let digits = "ab".repeat(32);
        for bad in [
            "",
            "haishin_12",
            &text[1..],
            &text[..text.len() - 1],
            &text.to_uppercase(),
            &format!("{text}0"),
            &format!("haishin_+1_{digits}"),
            &format!("haishin__{digits}"),
            &format!("haishin_99999999999999999999_{digits}"),
            &format!(" {text}"),
        ] {
            assert_eq!(Token::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_digest_is_of_its_secret_alone() {
        let digest = Secret([1; 32]).digest();
        assert!(digest.is_of(&Secret([1; 32])));
        let mut other = [1; 32];
        other[31] = 2;
        assert!(!digest.is_of(&Secret(other)));
        assert_ne!(digest.bytes(), &[1; 32]);
    }

    #[test]
    fn scopes_are_words() {
        let both: Scopes = [Scope::FriendsWrite, Scope::EventsWrite].into_iter().collect();
        assert_eq!(both.to_string(), "events:write friends:write");
        assert_eq!(Scopes::parse(&both.to_string()), Ok(both));
        assert_eq!(Scopes::parse("friends:*"), Err(NoScope("friends:*".into())));
        for scope in Scope::ALL {
            assert_eq!(scope.as_str().parse(), Ok(scope));
        }
    }
}
