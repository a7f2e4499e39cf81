//! LINE message objects: parsed at the border against LINE's limits, then sent as fixed bytes.

/// 1–5 message objects of one variant, as the exact JSON array that goes to LINE, and the digest of their source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageSet {
    /// The bytes of the `messages` array, fixed at check.
    pub json: std::sync::Arc<str>,
    /// Digest of the source before links, units and values are rendered: "the same content".
    pub content: ContentDigest,
}

/// SHA-256 of a variant's source: what "the same content" means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContentDigest(pub [u8; 32]);
