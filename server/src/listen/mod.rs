//! Listeners: Unix sockets with peer credentials and HTTPS. Each connection gets its peer once; each request carries it.
//! Here are also the bounds on connections and the time a client has for its headers.

pub mod bounds;
mod connection;
pub mod door;
mod framing;
pub mod https;
pub mod tenants;
pub mod unix;

pub use connection::Serving;
pub(crate) use framing::Framed;

#[cfg(test)]
mod tests;
