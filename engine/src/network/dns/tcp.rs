//! DNS over TCP (RFC 7766): for answers that do not fit in a datagram. A short-lived thread each; they are rare.

use super::super::networks::Inner;
use super::forward::at_origin;
use super::{Client, Reply, UPSTREAM_TIMEOUT, answer, reply};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Weak;
use std::time::Duration;

/// How long a client may be silent between questions.
const IDLE: Duration = Duration::from_secs(10);

fn read(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0u8; 2];
    stream.read_exact(&mut length)?;
    let mut message = vec![0u8; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message)?;
    Ok(message)
}

fn write(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), message].concat())
}

fn ask(client: &Client, home: &OwnedFd, question: &[u8], upstreams: &[SocketAddr]) -> Option<Vec<u8>> {
    for server in upstreams {
        let asked = at_origin(client, home, server.ip(), || TcpStream::connect_timeout(server, UPSTREAM_TIMEOUT)).and_then(|mut stream| {
            stream.set_read_timeout(Some(UPSTREAM_TIMEOUT))?;
            stream.set_write_timeout(Some(UPSTREAM_TIMEOUT))?;
            write(&mut stream, question)?;
            read(&mut stream)
        });
        match asked {
            Ok(answer) if answer.get(..2) == question.get(..2) => return Some(answer),
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, %server, "a DNS server was not reached over TCP"),
        }
    }
    None
}

/// Answers a client's questions until it goes away.
pub fn converse(names: &Weak<Inner>, client: &Client, home: &OwnedFd, mut stream: TcpStream) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(IDLE))?;
    stream.set_write_timeout(Some(IDLE))?;
    loop {
        let question = match read(&mut stream) {
            Ok(question) => question,
            Err(e) if matches!(e.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::WouldBlock) => return Ok(()),
            Err(e) => return Err(e),
        };
        let Some(names) = names.upgrade() else { return Ok(()) };
        let bytes = match reply(&names, client, &question, true) {
            Reply::Now(bytes) => Some(bytes),
            Reply::Nothing => None,
            Reply::Upstream(servers) => {
                drop(names);
                ask(client, home, &question, &servers).or_else(|| answer::failure(&question))
            }
        };
        match bytes {
            Some(bytes) => write(&mut stream, &bytes)?,
            None => return Ok(()),
        }
    }
}
