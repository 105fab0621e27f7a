//! Real sockets: what the router tests cannot see.

use super::bounds::Bounds;
use super::https::Https;
use super::unix::{Socket, Speaks};
use super::{Serving, door};
use crate::auth::Peer;
use crate::ca::Ca;
use crate::tls::{self, Identity, Source};
use axum::body::Body;
use axum::extract::Request;
use axum::{Extension, Router};

use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use rustls::RootCertStore;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_util::sync::CancellationToken;

/// Says who the listener thinks is calling; `/up` upgrades and echoes.
fn serving() -> Serving {
    async fn who(Extension(peer): Extension<Peer>) -> String {
        format!("{peer:?}")
    }
    async fn up(request: Request) -> http::Response<Body> {
        tokio::spawn(async move {
            let mut raw = TokioIo::new(hyper::upgrade::on(request).await.unwrap());
            let (mut text, mut buffer) = (Vec::new(), [0; 64]);
            loop {
                let n = raw.read(&mut buffer).await.unwrap();
                if n == 0 {
                    break;
                }
                text.extend_from_slice(&buffer[..n]);
            }
            // After the other side closed its half, ours still goes out.
            raw.write_all(&text).await.unwrap();
            raw.shutdown().await.unwrap();
        });
        http::Response::builder().status(101).header("connection", "Upgrade").header("upgrade", "tcp").body(Body::empty()).unwrap()
    }
    let router = Router::new().route("/who", axum::routing::any(who)).route("/up", axum::routing::post(up));
    Serving::new(router, CancellationToken::new())
}

async fn talk(socket: &std::path::Path, text: &str) -> String {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

fn socket(folder: &std::path::Path, serving: &Serving) -> std::path::PathBuf {
    let path = folder.join("w.sock");
    let socket = Socket::bind(&path).unwrap();
    serving.connections.spawn(socket.serve(Speaks::ForAccount, serving.clone(), serving.stop.clone()));
    path
}

#[tokio::test]
async fn a_unix_socket_tells_who_calls_and_is_open_to_all() {
    let (folder, serving) = (tempfile::tempdir().unwrap(), serving());
    let path = socket(folder.path(), &serving);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o666);
    let answer = talk(&path, "GET /who HTTP/1.0\r\n\r\n").await;
    let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    assert!(answer.ends_with(&format!("Unix {{ uid: {uid}, gid: {gid} }}")), "{answer}");
}

#[tokio::test]
async fn sec_a01_ambiguous_requests_get_400_before_any_handler() {
    let (folder, serving) = (tempfile::tempdir().unwrap(), serving());
    let path = socket(folder.path(), &serving);
    for head in [
        "POST /who HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /who HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
        "POST /who HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
        "POST /who HTTP/1.1\r\nHost: h\r\nA: b\r\n folded\r\n\r\n",
        "GET /who HTTP/1.1\nHost: h\n\n",
    ] {
        let answer = talk(&path, head).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{head:?}: {answer}");
        let after_a_good_one = talk(&path, &format!("GET /who HTTP/1.1\r\nHost: h\r\n\r\n{head}")).await;
        assert_eq!(after_a_good_one.matches("HTTP/1.1 200").count(), 1, "{head:?}: {after_a_good_one}");
        assert_eq!(after_a_good_one.matches("HTTP/1.1 400").count(), 1, "{head:?}: {after_a_good_one}");
    }
}

#[tokio::test]
async fn upgrades_keep_both_halves() {
    let (folder, serving) = (tempfile::tempdir().unwrap(), serving());
    let path = socket(folder.path(), &serving);
    // Bytes right behind the head, looking like another request, belong to the stream.
    let answer = talk(&path, "POST /up HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nGET / HTTP/1.1\nx").await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    assert!(answer.ends_with("\r\n\r\nGET / HTTP/1.1\nx"), "{answer}");
}

#[tokio::test]
async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
    let (folder, serving) = (tempfile::tempdir().unwrap(), serving());
    let path = folder.path().join("w.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "left behind, as by a crash");
    socket(folder.path(), &serving);
    let taken = Socket::bind(&path).err().unwrap();
    assert!(taken.to_string().contains("another server answers"), "{taken}");
    let file = folder.path().join("file");
    std::fs::write(&file, "precious").unwrap();
    assert!(Socket::bind(&file).is_err());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
    serving.stop.cancel();
    serving.connections.close();
    serving.connections.wait().await;
    assert!(!path.exists(), "gone with its server");
}

#[tokio::test]
async fn sec_r26_one_peer_cannot_hold_all_connections() {
    let folder = tempfile::tempdir().unwrap();
    let serving = Serving { bounds: Bounds::new(10, 2), ..serving() };
    let path = socket(folder.path(), &serving);
    let idle = (UnixStream::connect(&path).await.unwrap(), UnixStream::connect(&path).await.unwrap());
    assert_eq!(talk_or_closed(&path).await, "", "the third is closed");
    drop(idle);
    // The places come back as soon as the server has seen the ends.
    while talk_or_closed(&path).await.is_empty() {
        tokio::task::yield_now().await;
    }
}

async fn talk_or_closed(path: &std::path::Path) -> String {
    let mut stream = UnixStream::connect(path).await.unwrap();
    let mut answer = String::new();
    // A connection closed unread may answer a write with an error: closed all the same.
    let _ = stream.write_all(b"GET /who HTTP/1.0\r\n\r\n").await;
    let _ = stream.read_to_string(&mut answer).await;
    answer
}

/// A client that trusts this CA, with or without a certificate.
fn client(ca: &str, certificate: Option<(&str, &str)>) -> tokio_rustls::TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
    let config = match certificate {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap()).unwrap()
        }
    };
    Arc::new(config).into()
}

async fn ask(client: tokio_rustls::TlsConnector, address: SocketAddr) -> std::io::Result<String> {
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = client.connect(name, TcpStream::connect(address).await?).await?;
    stream.write_all(b"GET /who HTTP/1.0\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn https_takes_our_certificates_none_and_no_others() {
    let (folder, serving) = (tempfile::tempdir().unwrap(), serving());
    let now = Timestamp::now();
    let ca = Ca::open(&folder.path().join("tls"), now).unwrap();
    let identity = Identity::load(&ca, &Source::OwnCa(crate::ca::host_names(&[])), now).unwrap();
    let config = tls::server_config(&ca, identity.clone()).unwrap();
    let https = Https::bind("127.0.0.1:0".parse().unwrap(), config).await.unwrap();
    let address = https.address().unwrap();
    tokio::spawn(https.serve(serving.clone(), serving.stop.clone()));

    let anonymous = ask(client(ca.pem(), None), address).await.unwrap();
    assert!(anonymous.contains("certificate: None"), "{anonymous}");
    let issued = ca.client("ada", "ada", now).unwrap();
    let known = ask(client(ca.pem(), Some((&issued.certificate_pem, &issued.key_pem))), address).await.unwrap();
    assert!(known.contains(&format!("{:?}", Some(issued.fingerprint))), "{known}");
    // Of another authority: the handshake does not even end.
    let other = Ca::open(&folder.path().join("other"), now).unwrap();
    let foreign = other.client("ada", "ada", now).unwrap();
    assert!(ask(client(ca.pem(), Some((&foreign.certificate_pem, &foreign.key_pem))), address).await.is_err());
    assert!(ask(client(other.pem(), None), address).await.is_err(), "a client that trusts another authority does not trust us");
    // A new certificate serves new connections.
    identity.reload(&ca, &Source::OwnCa(crate::ca::host_names(&[])), now).unwrap();
    assert!(ask(client(ca.pem(), None), address).await.is_ok());
}

#[tokio::test]
async fn sec_https_stays_on_loopback_until_an_administrator_exists() {
    let house = crate::auth::tests::House::new().await;
    let serving = serving();
    let now = Timestamp::now();
    let identity = Identity::load(&house.desk.ca, &Source::OwnCa(crate::ca::host_names(&[])), now).unwrap();
    let config = tls::server_config(&house.desk.ca, identity).unwrap();
    let accounts = house.desk.accounts.clone();
    let address = door::open("0.0.0.0:0".parse().unwrap(), config, accounts.clone(), serving.clone()).await.unwrap();
    assert!(address.ip().is_loopback(), "{address}");
    // Another loopback address: only a listener on all addresses answers there.
    let elsewhere = SocketAddr::new("127.0.0.2".parse().unwrap(), address.port());
    assert!(TcpStream::connect(elsewhere).await.is_err());
    house.user("boss", true, None).await;
    while TcpStream::connect(elsewhere).await.is_err() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    serving.stop.cancel();
}
