//! Who is asking, for which tenant, with which role: the outcome of authentication, and the first argument of
//! everything the engine does for somebody. The engine trusts the server to have made it from proof; it never makes one.

use crate::id::{TenantId, UserId};

/// Who is asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The person. `None`: a container that mounted its tenant's socket.
    pub user: Option<UserId>,
    /// The person's name, for audit rows and pages.
    pub name: String,
    /// The tenant this request acts for; all names in the request are this tenant's.
    pub tenant: TenantId,
    /// The tenant's name.
    pub tenant_name: String,
    /// What the person is on this host.
    pub role: Role,
    /// The Unix account behind the request, when the kernel told us (SO_PEERCRED) or the user is bound to one.
    pub unix: Option<UnixAccount>,
    /// How the person proved it.
    pub via: Via,
    /// From where, for audit rows; `None` on Unix sockets.
    pub ip: Option<std::net::IpAddr>,
    /// What the credential may be used for.
    pub scope: Scope,
}

/// A Unix account of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct UnixAccount {
    /// Its uid.
    pub uid: u32,
    /// Its primary gid.
    pub gid: u32,
}

/// What a person is on this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Administers the host: all grants in the own tenants, sees the audit log, manages users.
    Admin,
    /// An ordinary user.
    User,
}

/// How a subject was authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// Peer credentials of the Unix socket.
    Socket,
    /// A tenant's own socket.
    TenantSocket,
    /// An API token.
    Token,
    /// A client certificate.
    Certificate,
    /// A browser session.
    Session,
    /// The engine itself (restart policy, health probe), with what its owner was authorised for.
    Engine,
}

impl Via {
    /// The word in audit rows.
    pub fn as_str(self) -> &'static str {
        match self {
            Via::Socket => "socket",
            Via::TenantSocket => "tenant-socket",
            Via::Token => "token",
            Via::Certificate => "certificate",
            Via::Session => "session",
            Via::Engine => "engine",
        }
    }
}

/// What a credential may be used for; wider ones include narrower ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Look at things.
    Read,
    /// And change them.
    Write,
    /// And administer, where the role allows it.
    Admin,
}
