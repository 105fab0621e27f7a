//! Networks.

mod view;

pub use view::{IpamPool, Network, NetworkMember, NetworkSpec, PortUse};
