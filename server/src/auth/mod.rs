//! From proof to subject: peer credentials, tokens, client certificates, sessions. Judging what the subject may do is the
//! engine's policy; here it is only who it is and for which tenant it speaks.

pub mod accounts;
pub mod backoff;
pub mod change;
pub mod cross_site;
pub mod lifetime;
pub mod password;
pub mod proof;
pub mod secret;
pub mod session;
pub mod setup;
mod subject;
pub mod who;

use engine::TenantId;
use http::StatusCode;
use std::net::SocketAddr;

/// Who is at the other end of a connection. Put into each request by the listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// The main Unix socket; the kernel says which account called.
    Unix {
        /// Its uid.
        uid: u32,
        /// Its gid.
        gid: u32,
    },
    /// A tenant's own socket.
    Tenant {
        /// Whose socket.
        tenant: TenantId,
        /// The caller's uid.
        uid: u32,
        /// The caller's gid.
        gid: u32,
    },
    /// HTTPS.
    Tcp {
        /// From where.
        address: SocketAddr,
        /// SHA-256 of the client certificate, if one was shown and our CA signed it.
        certificate: Option<engine::Digest>,
    },
}

/// Why somebody was turned away before any handler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// 401, 403, 404 or 503.
    pub status: StatusCode,
    /// For the person: what to do about it.
    pub message: String,
}

impl Refusal {
    /// No proof, or one that does not hold.
    pub fn unauthenticated(message: impl Into<String>) -> Self {
        Self { status: StatusCode::UNAUTHORIZED, message: message.into() }
    }

    /// No proof at all.
    pub fn nobody() -> Self {
        Self::unauthenticated("authentication required: use an API token (Authorization: Bearer), a client certificate, or the Unix socket")
    }

    /// An error of the engine or the store as a refusal; ours are logged with their causes.
    pub fn of(error: &engine::Error) -> Self {
        use engine::Kind;
        let status = match error.kind() {
            Kind::Invalid => StatusCode::BAD_REQUEST,
            Kind::NotFound => StatusCode::NOT_FOUND,
            Kind::Conflict => StatusCode::CONFLICT,
            Kind::Forbidden => StatusCode::FORBIDDEN,
            Kind::Unsupported => StatusCode::NOT_IMPLEMENTED,
            Kind::Exhausted => StatusCode::INSUFFICIENT_STORAGE,
            Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Kind::Internal => {
                tracing::error!(error = ?error, "a request failed for a reason of ours");
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        Self { status, message: error.to_string() }
    }

    /// Known, but not allowed.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self { status: StatusCode::FORBIDDEN, message: message.into() }
    }
}

#[cfg(test)]
pub(crate) mod tests;
