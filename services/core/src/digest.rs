//! Content digests: BLAKE3, 32 bytes, written as 64 lower-case hexadecimal digits.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The BLAKE3 digest of some content.
///
/// Serialised as its text where people may read it, as its bytes elsewhere.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(&self.to_hex())
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            text.parse().map_err(serde::de::Error::custom)
        } else {
            <[u8; 32]>::deserialize(deserializer).map(Self)
        }
    }
}

impl Digest {
    /// Length in bytes.
    pub const LEN: usize = 32;

    /// The digest of `content`.
    #[must_use]
    pub fn of(content: &[u8]) -> Self {
        Self(*blake3::hash(content).as_bytes())
    }

    /// The digest of a value's canonical encoding (postcard) under a context string.
    ///
    /// Contexts separate domains: the same bytes under two contexts have two digests. A
    /// context names what is digested and the version of its layout, and never changes its
    /// meaning.
    #[must_use]
    pub fn of_value<T: Serialize + ?Sized>(context: &str, value: &T) -> Self {
        let encoded = postcard::to_stdvec(value).expect("plain values always encode");
        let mut hasher = blake3::Hasher::new_derive_key(context);
        hasher.update(&encoded);
        Self(*hasher.finalize().as_bytes())
    }

    /// A digest from its bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// A digest from a slice; `None` unless it is exactly 32 bytes long.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        Some(Self(bytes.try_into().ok()?))
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// 64 hexadecimal digits.
    #[must_use]
    pub fn to_hex(&self) -> String {
        blake3::Hash::from_bytes(self.0).to_hex().to_string()
    }

    /// The first 16 hexadecimal digits, for names that people read.
    #[must_use]
    pub fn short(&self) -> String {
        self.to_hex()[..16].to_owned()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({})", self.short())
    }
}

/// Text that is not 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a digest is 64 hexadecimal digits")]
pub struct DigestParseError;

impl FromStr for Digest {
    type Err = DigestParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let canonical = text.len() == 64 && !text.bytes().any(|byte| byte.is_ascii_uppercase());
        if !canonical {
            return Err(DigestParseError);
        }
        blake3::Hash::from_hex(text)
            .map(|hash| Self(*hash.as_bytes()))
            .map_err(|_| DigestParseError)
    }
}

/// A blob's digest and its size in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Blob {
    /// What the content hashes to.
    pub digest: Digest,
    /// Length in bytes.
    pub size: u64,
}

impl Blob {
    /// The blob that `content` is.
    #[must_use]
    pub fn of(content: &[u8]) -> Self {
        Self {
            digest: Digest::of(content),
            size: content.len() as u64,
        }
    }
}

/// Digests content as it arrives in pieces.
#[derive(Clone, Default)]
pub struct Hasher {
    inner: blake3::Hasher,
    size: u64,
}

impl Hasher {
    /// A hasher that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the next piece.
    pub fn update(&mut self, piece: &[u8]) {
        self.inner.update(piece);
        self.size += piece.len() as u64;
    }

    /// The blob seen so far.
    #[must_use]
    pub fn finish(&self) -> Blob {
        Blob {
            digest: Digest(*self.inner.finalize().as_bytes()),
            size: self.size,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_round_trips_and_refuses_other_text() {
        let digest = Digest::of(b"vx");
        assert_eq!(digest.to_hex().parse(), Ok(digest));
        assert!("zz".parse::<Digest>().is_err());
        assert!(digest.to_hex().to_uppercase().parse::<Digest>().is_err());
    }

    #[test]
    fn contexts_separate_domains() {
        assert_ne!(Digest::of_value("a", "x"), Digest::of_value("b", "x"));
    }

    #[test]
    fn pieces_hash_as_the_whole() {
        let mut hasher = Hasher::new();
        hasher.update(b"one ");
        hasher.update(b"two");
        assert_eq!(hasher.finish(), Blob::of(b"one two"));
    }
}
