//! Secrets we hand out: 256 random bits behind a prefix, known afterwards by their SHA-256 only.

use engine::{Digest, Error, Kind, Result};
use std::fmt;
use subtle::ConstantTimeEq;

/// A secret in the clear: shown once, never stored, never logged.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// A new one: `prefix` and 64 hex characters.
    ///
    /// # Errors
    /// When the kernel gives no random bytes.
    pub fn random(prefix: &str) -> Result<Self> {
        let mut bytes = [0u8; 32];
        getrandom::fill(&mut bytes).map_err(|e| Error::new(Kind::Internal, format!("the kernel gives no random bytes: {e}")))?;
        Ok(Self(format!("{prefix}{}", hex::encode(bytes))))
    }

    /// One that somebody presented.
    pub fn presented(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The text, to show it once or to set it in a cookie.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What is stored and looked up. With 256 random bits behind it, time spent comparing it tells nothing of use.
    pub fn hash(&self) -> Digest {
        Digest::of(self.0.as_bytes())
    }

    /// Compares in a time that does not depend on the content.
    pub fn is(&self, other: &str) -> bool {
        self.0.as_bytes().ct_eq(other.as_bytes()).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sec_k02_only_the_whole_secret_is_equal() {
        let secret = Secret::random("wharf_").unwrap();
        assert_eq!(secret.reveal().len(), 6 + 64);
        assert!(secret.is(&secret.reveal().to_lowercase()));
        for wrong in ["", "wharf_", &secret.reveal()[..69], &format!("{}0", secret.reveal())] {
            assert!(!secret.is(wrong));
        }
        assert_eq!(format!("{secret:?}"), "Secret(…)");
    }
}
