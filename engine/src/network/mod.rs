//! Networks of this host: bridges, addresses, published ports, firewall, names.
//!
//! The engine's facade calls [`Networks`]; nothing here judges who may do what. All kernel work is netlink from one
//! thread of our own (`kernel`), which lives in the network namespace that `Networks::open` was called in. One nft table
//! of ours per family is static; networks, containers and ports are elements of its sets and maps.

mod attach;
mod child;
mod create;
mod dns;
mod endpoint;
mod explain;
mod facade;
mod firewall;
mod forwarding;
mod host_routes;
mod ipam;
mod kernel;
pub mod link;
mod networks;
mod option;
mod placement;
mod plan;
mod ports;
mod publish;
pub(crate) mod reach;
mod repair;
mod state;
mod view;

pub use attach::{Alive, AttachRequest, Attachment, Listener, Prepared, Reserved, ResolverSpec};
pub use explain::{Explanation, Origin, Tried};
pub use ipam::AddressPool;
pub(crate) use ipam::Cidr;
pub use networks::Networks;
pub(crate) use option::check as check_endpoint;
pub use placement::Placed;
pub(crate) use placement::as_before;
pub(crate) use plan::is_private;
pub(crate) use reach::{Inside, Reach};
pub use view::{IpamPool, Network, NetworkMember, NetworkSpec, PortUse};

#[cfg(test)]
mod denial_tests;
#[cfg(test)]
mod kind_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
