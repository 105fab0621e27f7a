//! The accounts in memory, written through to the store.

/// People, tokens, certificates and sessions. Cheap to clone.
#[derive(Clone)]
pub struct Accounts(());
