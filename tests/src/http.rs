//! HTTP/1.1 over a Unix socket, one request a connection, written out by hand: what tests compare is the bytes, and the
//! benchmark must not measure a client library.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// A request.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// GET, POST, …
    pub method: &'a str,
    /// Path with query.
    pub path: &'a str,
    /// A bearer token; without one the connection speaks for its Unix account.
    pub token: Option<&'a str>,
    /// A JSON body.
    pub body: Option<&'a str>,
}

/// An answer, read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The headers as they came, names in small letters.
    pub headers: Vec<(String, String)>,
    /// The body, chunks put together.
    pub body: Vec<u8>,
}

impl Response {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; null if it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

impl Request<'_> {
    /// Sends it on a connection of its own.
    ///
    /// # Panics
    /// When there is no answer.
    pub fn send(&self, socket: &Path) -> Response {
        self.try_send(socket).unwrap_or_else(|e| panic!("{} {}: {e}", self.method, self.path))
    }

    /// Sends it on a connection of its own.
    ///
    /// # Errors
    /// When there is no answer, or none that is HTTP.
    pub fn try_send(&self, socket: &Path) -> std::io::Result<Response> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(crate::PATIENCE))?;
        self.write(&mut stream, "close")?;
        Connection { stream: BufReader::new(stream) }.answer(self.method)
    }

    fn write(&self, to: &mut impl Write, connection: &str) -> std::io::Result<()> {
        let mut head = format!("{} {} HTTP/1.1\r\nHost: wharf\r\nConnection: {connection}\r\n", self.method, self.path);
        if let Some(token) = self.token {
            head.push_str(&format!("Authorization: Bearer {token}\r\n"));
        }
        if let Some(body) = self.body {
            head.push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()));
        } else if self.method != "GET" && self.method != "HEAD" {
            head.push_str("Content-Length: 0\r\n");
        }
        head.push_str("\r\n");
        head.push_str(self.body.unwrap_or_default());
        to.write_all(head.as_bytes())
    }
}

/// A connection that is used again and again: what a fast client does.
pub struct Connection<S = UnixStream> {
    stream: BufReader<S>,
}

impl Connection {
    /// Opens one.
    ///
    /// # Errors
    /// When nobody listens.
    pub fn open(socket: &Path) -> std::io::Result<Self> {
        Ok(Self { stream: BufReader::with_capacity(1 << 16, UnixStream::connect(socket)?) })
    }
}

impl<S: Read + Write> Connection<S> {
    /// A connection that was opened otherwise: TCP, or with TLS in it.
    pub fn over(stream: S) -> Self {
        Self { stream: BufReader::new(stream) }
    }

    /// Sends a request and reads its answer.
    ///
    /// # Errors
    /// When the connection breaks, or the answer is not HTTP.
    pub fn send(&mut self, method: &str, path: &str, body: Option<&str>) -> std::io::Result<Response> {
        Request { method, path, token: None, body }.write(self.stream.get_mut(), "keep-alive")?;
        self.answer(method)
    }

    /// Sends a request whose answer is taken a piece at a time until it ends; the number of bytes of its body.
    ///
    /// # Errors
    /// When the connection breaks, or the answer is not HTTP.
    pub fn drain(&mut self, method: &str, path: &str) -> std::io::Result<u64> {
        Request { method, path, token: None, body: None }.write(self.stream.get_mut(), "keep-alive")?;
        let (_, headers) = self.head()?;
        self.body(&headers, &mut std::io::sink())
    }

    fn answer(&mut self, method: &str) -> std::io::Result<Response> {
        let (status, headers) = self.head()?;
        let mut body = Vec::new();
        if method != "HEAD" && status != 204 && status != 304 && status != 101 {
            self.body(&headers, &mut body)?;
        }
        Ok(Response { status, headers, body })
    }

    fn head(&mut self) -> std::io::Result<(u16, Vec<(String, String)>)> {
        let line = self.line()?;
        let status = line.split(' ').nth(1).and_then(|s| s.parse().ok()).ok_or_else(|| broken("no status", &line))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok((status, headers));
            }
            let (name, value) = line.split_once(':').ok_or_else(|| broken("no header", &line))?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    fn body(&mut self, headers: &[(String, String)], to: &mut impl Write) -> std::io::Result<u64> {
        let header = |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
        if header("transfer-encoding") == Some("chunked") {
            let mut all = 0;
            loop {
                let line = self.line()?;
                let size = line.split(';').next().and_then(|size| u64::from_str_radix(size.trim(), 16).ok());
                let size = size.ok_or_else(|| broken("no chunk", &line))?;
                all += std::io::copy(&mut (&mut self.stream).take(size), to)?;
                self.line()?;
                if size == 0 {
                    return Ok(all);
                }
            }
        }
        match header("content-length").and_then(|length| length.parse().ok()) {
            Some(length) => std::io::copy(&mut (&mut self.stream).take(length), to),
            None => std::io::copy(&mut self.stream, to),
        }
    }

    fn line(&mut self) -> std::io::Result<String> {
        let mut line = Vec::new();
        if self.stream.read_until(b'\n', &mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned())
    }
}

fn broken(what: &str, line: &str) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, format!("{what} in an answer: {line:?}"))
}

/// Calls `ask` as another Unix account: what it connects to sees that account. Only the calling thread changes.
pub fn by_account<T: Send>(uid: u32, ask: impl FnOnce() -> T + Send) -> T {
    use rustix::process::{Gid, Uid};
    use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
    let become_it = || {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(uid));
        set_thread_groups(&[]).and_then(|()| set_thread_res_gid(gid, gid, gid)).and_then(|()| set_thread_res_uid(uid, uid, uid))
    };
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| {
            become_it().unwrap_or_else(|e| panic!("becoming the account {uid}: {e}"));
            ask()
        });
        asked.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// How much of an answer is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// All of it.
    End,
    /// Status and headers: what follows may be a stream without an end.
    Headers,
}

/// Sends a request with any headers on a connection of its own. `Host`, `Connection: close` and `Content-Length` are added
/// where they are not given.
///
/// # Errors
/// When there is no answer, or none that is HTTP.
pub fn send(socket: &Path, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8], until: Until) -> std::io::Result<Response> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(crate::PATIENCE))?;
    send_over(stream, method, path, headers, body, until)
}

/// The same on a connection that was opened otherwise.
///
/// # Errors
/// When there is no answer, or none that is HTTP.
pub fn send_over<S: Read + Write>(
    mut stream: S,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
    until: Until,
) -> std::io::Result<Response> {
    let given = |name: &str| headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
    let mut head = format!("{method} {path} HTTP/1.1\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    for (name, value) in [("Host", "wharf"), ("Connection", "close")] {
        if !given(name) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    if !given("content-length") && !given("transfer-encoding") && (!body.is_empty() || !["GET", "HEAD"].contains(&method)) {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    // A server that refuses may close before it read everything; what it answered is what counts.
    let sent = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
    let mut connection = Connection::over(stream);
    let answer = match until {
        Until::End => connection.answer(method),
        Until::Headers => connection.head().map(|(status, headers)| Response { status, headers, body: Vec::new() }),
    };
    match (answer, sent) {
        (Ok(answer), _) => Ok(answer),
        (Err(_), Err(e)) | (Err(e), Ok(())) => Err(e),
    }
}
