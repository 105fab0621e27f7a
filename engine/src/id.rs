//! Typed identifiers: one cannot be passed for another, and none can hold text that "should be" one.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Box<str>);

        impl $name {
            /// A new random id: 32 bytes from the kernel in lower-case hex, as Docker's.
            pub fn random() -> Self {
                let mut bytes = [0u8; 32];
                getrandom::fill(&mut bytes).expect("the kernel gives random bytes");
                Self(hex::encode(bytes).into())
            }

            /// All 64 characters.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The first twelve characters, as people see it.
            pub fn short(&self) -> &str {
                &self.0[..12]
            }
        }

        impl TryFrom<String> for $name {
            type Error = crate::Error;
            fn try_from(text: String) -> Result<Self, crate::Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.into()
            }
        }

        impl std::str::FromStr for $name {
            type Err = crate::Error;
            fn from_str(text: &str) -> Result<Self, crate::Error> {
                if text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
                    Ok(Self(text.into()))
                } else {
                    Err(crate::Error::invalid(format!("{text:?} is not an id of 64 lower-case hex characters")))
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.short())
            }
        }
    };
}

hex_id! {
    /// A container.
    ContainerId
}
hex_id! {
    /// One exec in a container.
    ExecId
}
hex_id! {
    /// A network.
    NetworkId
}
hex_id! {
    /// One container's attachment to one network.
    EndpointId
}

macro_rules! row_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

row_id! {
    /// A user: a row of `users`.
    UserId
}
row_id! {
    /// A tenant: a row of `tenants`.
    TenantId
}
row_id! {
    /// A grant: a row of `grants`.
    GrantId
}
row_id! {
    /// An operation.
    OperationId
}

impl UserId {
    /// The host's root, an administrator from the first start on: the one user without a row of its own.
    pub const ROOT: UserId = UserId(0);
}

/// A SHA-256 content digest, `sha256:` and 64 lower-case hex characters.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest with these raw bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The digest of `content`.
    pub fn of(content: &[u8]) -> Self {
        use sha2::Digest as _;
        Self(sha2::Sha256::digest(content).into())
    }

    /// The raw bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// 64 hex characters without the algorithm.
    pub fn hex(&self) -> String {
        hex::encode(self.0)
    }
}

impl std::str::FromStr for Digest {
    type Err = crate::Error;
    fn from_str(text: &str) -> Result<Self, crate::Error> {
        let invalid = || crate::Error::invalid(format!("invalid digest {text:?}: expected sha256: and 64 lower-case hex characters"));
        let digits = text.strip_prefix("sha256:").ok_or_else(invalid)?;
        if digits.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(invalid());
        }
        let mut bytes = [0u8; 32];
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| invalid())?;
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Digest {
    type Error = crate::Error;
    fn try_from(text: String) -> Result<Self, crate::Error> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(d: Digest) -> String {
        d.to_string()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
