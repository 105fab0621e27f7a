//! Passwords: argon2id with OWASP's smaller parameters (19 MiB, two passes), at most two at a time, so that a storm of
//! logins costs 38 MiB and two cores at worst. An unknown user costs the same as a known one.

use crate::store::users::PasswordHash;
use argon2::Argon2;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use engine::{Error, Kind, Result};
use std::sync::Arc;
use std::sync::OnceLock;
use tokio::sync::Semaphore;

/// How many hashes are computed at once.
const AT_ONCE: usize = 2;
/// How many may wait for that; more are told to come back.
const WAITING: usize = 64;
/// Shorter ones are refused (OWASP ASVS 5.0, 6.2.1).
pub const MIN_LENGTH: usize = 8;
/// Longer ones are refused: hashing is meant to be slow, reading the form is not.
pub const MAX_LENGTH: usize = 1024;

/// The pool. Cheap to clone.
#[derive(Clone)]
pub struct Passwords {
    computing: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

impl Default for Passwords {
    fn default() -> Self {
        Self { computing: Arc::new(Semaphore::new(AT_ONCE)), waiting: Arc::new(Semaphore::new(WAITING)) }
    }
}

/// m=19456 KiB, t=2, p=1: the crate's own default, said here because it is our promise.
fn argon() -> Result<Argon2<'static>> {
    let params = argon2::Params::new(19_456, 2, 1, None).map_err(|e| Error::new(Kind::Internal, format!("argon2: {e}")))?;
    Ok(Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params))
}

impl Passwords {
    /// The hash to store.
    ///
    /// # Errors
    /// `Invalid` for a password too short or too long; `Unavailable` under a storm.
    pub async fn hash(&self, password: &str) -> Result<PasswordHash> {
        let length = password.chars().count();
        if length < MIN_LENGTH {
            return Err(Error::invalid(format!("the password has {length} characters: it needs {MIN_LENGTH} or more")));
        }
        if password.len() > MAX_LENGTH {
            return Err(Error::invalid(format!("the password is longer than {MAX_LENGTH} bytes")));
        }
        let password = password.to_owned();
        self.compute(move || {
            let hash = argon()?.hash_password(password.as_bytes());
            hash.map(|h| PasswordHash(h.to_string())).map_err(|e| Error::new(Kind::Internal, format!("hashing a password: {e}")))
        })
        .await
    }

    /// Whether the password is the one. `None` computes a hash all the same, so that time does not tell who exists.
    ///
    /// # Errors
    /// `Unavailable` under a storm.
    pub async fn verify(&self, stored: Option<&PasswordHash>, password: &str) -> Result<bool> {
        if password.len() > MAX_LENGTH {
            return Ok(false);
        }
        let (stored, password) = (stored.cloned(), password.to_owned());
        self.compute(move || {
            let argon = argon()?;
            match stored {
                Some(hash) => Ok(argon.verify_password(password.as_bytes(), hash.0.as_str()).is_ok()),
                None => {
                    // Its outcome does not matter: nobody has this password.
                    let _ = argon.verify_password(password.as_bytes(), nobodys()?);
                    Ok(false)
                }
            }
        })
        .await
    }

    async fn compute<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        let _waiting = self
            .waiting
            .try_acquire()
            .map_err(|_| Error::new(Kind::Unavailable, "too many people sign in right now: try again in a few seconds"))?;
        let closed = |e| Error::internal("waiting for the password pool", e);
        let _computing = self.computing.acquire().await.map_err(closed)?;
        tokio::task::spawn_blocking(work).await.map_err(|e| Error::internal("hashing a password", e))?
    }
}

/// A hash of random bytes, made once.
fn nobodys() -> Result<&'static str> {
    static HASH: OnceLock<Option<String>> = OnceLock::new();
    let made = HASH.get_or_init(|| {
        let mut bytes = [0u8; 32];
        getrandom::fill(&mut bytes).ok()?;
        Some(argon().ok()?.hash_password(&bytes).ok()?.to_string())
    });
    made.as_deref().ok_or_else(|| Error::new(Kind::Internal, "the kernel gives no random bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_password_itself_verifies() {
        let pool = Passwords::default();
        let hash = pool.hash("correct horse").await.unwrap();
        assert!(hash.0.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", hash.0);
        assert!(pool.verify(Some(&hash), "correct horse").await.unwrap());
        for wrong in ["correct hors", "correct horse ", "", "Correct horse"] {
            assert!(!pool.verify(Some(&hash), wrong).await.unwrap(), "{wrong:?}");
        }
        assert!(!pool.verify(None, "correct horse").await.unwrap());
        assert_eq!(pool.hash("short").await.unwrap_err().kind(), Kind::Invalid);
        assert_eq!(format!("{hash:?}"), "PasswordHash(…)");
    }
}
