//! An open way to a destination. Every call has an end: nobody is waited for longer than [`PATIENCE`](super::PATIENCE).

use super::{Address, Guard, PATIENCE};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket, UnixDatagram, UnixStream};

/// The most that is given to a stream at once.
const AT_ONCE: usize = 256 * 1024;
/// The longest acknowledgement.
const ANSWER_MAX: usize = 4096;

/// A connection.
pub(super) enum Connection {
    Udp(UdpSocket),
    Tcp(TcpStream),
    Unix(UnixStream),
    UnixDatagram(UnixDatagram),
}

impl Connection {
    /// Connects, if the guard lets it.
    pub async fn open(to: &Address, guard: &Guard) -> io::Result<Self> {
        in_time(async {
            match to {
                Address::Udp { host, port } => {
                    let address = resolve(host, *port, guard).await?;
                    let any: SocketAddr = if address.is_ipv4() { ([0u8; 4], 0).into() } else { ([0u16; 8], 0).into() };
                    let socket = UdpSocket::bind(any).await?;
                    socket.connect(address).await?;
                    Ok(Self::Udp(socket))
                }
                Address::Tcp { host, port } => Ok(Self::Tcp(TcpStream::connect(resolve(host, *port, guard).await?).await?)),
                Address::Unix(_) | Address::UnixDatagram(_) if !guard.granted => {
                    Err(io::Error::new(ErrorKind::PermissionDenied, "the host's sockets need a grant (log-to=ADDRESS)"))
                }
                Address::Unix(path) => match UnixStream::connect(path).await {
                    Ok(stream) => Ok(Self::Unix(stream)),
                    // /dev/log has datagrams.
                    Err(e) if e.raw_os_error() == Some(libc::EPROTOTYPE) => datagram(path),
                    Err(e) => Err(e),
                },
                Address::UnixDatagram(path) => datagram(path),
            }
        })
        .await
    }

    /// Sends as many messages as go at once, at least one. Returns how many.
    pub async fn send(&mut self, messages: &[Vec<u8>]) -> io::Result<usize> {
        let Some(first) = messages.first() else { return Ok(0) };
        in_time(async {
            match self {
                Self::Udp(socket) => match socket.send(first).await {
                    // Nobody listens there, or it does not fit: the way of UDP is to lose it.
                    Err(e) if e.kind() == ErrorKind::ConnectionRefused || e.raw_os_error() == Some(libc::EMSGSIZE) => Ok(1),
                    sent => sent.map(|_| 1),
                },
                Self::UnixDatagram(socket) => match socket.send(first).await {
                    Err(e) if e.raw_os_error() == Some(libc::EMSGSIZE) => {
                        tracing::warn!(bytes = first.len(), "a line is too long for a log's destination and is not sent there");
                        Ok(1)
                    }
                    sent => sent.map(|_| 1),
                },
                Self::Tcp(stream) => write_many(stream, messages).await,
                Self::Unix(stream) => write_many(stream, messages).await,
            }
        })
        .await
    }

    /// Sends one message to a stream and waits until `is_answer(message, bytes)` knows what came back (`None`: more is to come).
    pub async fn send_acknowledged(&mut self, message: &[u8], is_answer: fn(&[u8], &[u8]) -> Option<bool>) -> io::Result<usize> {
        self.send(std::slice::from_ref(&message.to_vec())).await?;
        in_time(async {
            let mut answer = Vec::new();
            loop {
                let mut buffer = [0; 512];
                let n = match self {
                    Self::Tcp(stream) => stream.read(&mut buffer).await?,
                    Self::Unix(stream) => stream.read(&mut buffer).await?,
                    Self::Udp(_) | Self::UnixDatagram(_) => return Err(io::Error::other("datagrams are not acknowledged")),
                };
                answer.extend_from_slice(&buffer[..n]);
                match is_answer(message, &answer) {
                    Some(true) => return Ok(1),
                    None if n > 0 && answer.len() < ANSWER_MAX => {}
                    _ => return Err(io::Error::new(ErrorKind::InvalidData, "a message was not acknowledged")),
                }
            }
        })
        .await
    }
}

fn datagram(path: &std::path::Path) -> io::Result<Connection> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    Ok(Connection::UnixDatagram(socket))
}

async fn write_many(stream: &mut (impl AsyncWriteExt + Unpin), messages: &[Vec<u8>]) -> io::Result<usize> {
    let mut bytes = Vec::new();
    let mut count = 0;
    for message in messages {
        if count > 0 && bytes.len() + message.len() > AT_ONCE {
            break;
        }
        bytes.extend_from_slice(message);
        count += 1;
    }
    stream.write_all(&bytes).await?;
    Ok(count)
}

/// The first address of a host that may be connected to.
async fn resolve(host: &str, port: u16, guard: &Guard) -> io::Result<SocketAddr> {
    let mut refused = None;
    for address in tokio::net::lookup_host((host, port)).await? {
        match guard.refusal(address.ip()) {
            None => return Ok(address),
            Some(why) => refused = Some(why),
        }
    }
    let why = refused.unwrap_or_else(|| format!("{host} has no address"));
    Err(io::Error::new(ErrorKind::PermissionDenied, why))
}

async fn in_time<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(outcome) => outcome,
        Err(_) => Err(ErrorKind::TimedOut.into()),
    }
}
