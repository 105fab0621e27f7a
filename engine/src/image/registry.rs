//! A conversation with one registry about one repository (distribution-spec), on reqwest.
//!
//! oci-client has most of it, but neither checks where a token realm leads, nor caps what it reads, nor gives a manifest's
//! raw bytes with the type they came as; those are what the checks below are made of.

use super::manifest::{ACCEPT, MANIFEST_MAX};
use super::reference::Reference;
use super::transport::{Endpoint, Transport, failed};
use crate::image::RegistryAuth;
use crate::{Digest, Error, Kind, Result};
use base64::Engine as _;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

/// Tries without progress before giving up.
const TRIES: u32 = 5;
/// The first pause; doubles.
const PAUSE: Duration = Duration::from_millis(200);
/// The longest pause, whatever `Retry-After` says.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// A registry and a repository there.
pub struct Registry {
    endpoint: Endpoint,
    transport: Transport,
    reference: Reference,
    auth: Option<RegistryAuth>,
    actions: &'static str,
    /// Authorization headers by scope.
    tokens: Mutex<HashMap<String, String>>,
}

/// A manifest as it was sent.
pub struct RawManifest {
    /// Digest of `bytes`, computed here.
    pub digest: Digest,
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// What the digest is of.
    pub bytes: Bytes,
}

/// What `WWW-Authenticate` asks for.
#[derive(Debug, PartialEq, Eq)]
enum Challenge {
    Basic,
    Bearer { realm: String, service: String },
}

impl Registry {
    /// For the repository of `reference`. `actions`: `pull` or `pull,push`. Credentials for another registry are not used.
    pub fn new(transport: Transport, endpoint: Endpoint, reference: Reference, auth: Option<&RegistryAuth>, actions: &'static str) -> Self {
        let auth = auth.filter(|a| !endpoint.mirror && is_for(a, reference.domain())).cloned();
        Self { endpoint, transport, reference, auth, actions, tokens: Mutex::default() }
    }

    /// Whether what comes from here was given to nobody in particular.
    pub fn is_anonymous(&self) -> bool {
        self.auth.is_none()
    }

    fn url(&self, rest: &str) -> String {
        format!("{}/v2/{}/{rest}", self.endpoint.base, self.reference.path())
    }

    fn scope(&self) -> String {
        format!("repository:{}:{}", self.reference.path(), self.actions)
    }

    /// Sends, authenticates when asked to, and tries again what may pass.
    async fn send(
        &self,
        method: Method,
        url: &str,
        scope: &str,
        with: &(dyn Fn(RequestBuilder) -> RequestBuilder + Sync),
    ) -> Result<Response> {
        let mut authenticated = false;
        let mut tries = 0;
        loop {
            let mut request = with(self.endpoint.client.request(method.clone(), url));
            let token = self.tokens().get(scope).cloned();
            if let Some(token) = token.filter(|_| self.is_ours(url)) {
                request = request.header("Authorization", token);
            }
            let (pause, outcome) = match request.send().await {
                Ok(response) if response.status() == StatusCode::UNAUTHORIZED && !authenticated && self.is_ours(url) => {
                    authenticated = true;
                    self.authenticate(&response, scope).await?;
                    continue;
                }
                Ok(response) if is_passing(response.status()) => (retry_after(&response), Ok(response)),
                Ok(response) => return Ok(response),
                Err(e) if e.is_builder() || e.is_redirect() => return Err(failed(url, e)),
                // A refused connection is not going to be better in a second; a broken one is.
                Err(e) if e.is_connect() && tries > 0 => return Err(failed(url, e)),
                Err(e) => (None, Err(failed(url, e))),
            };
            tries += 1;
            if tries >= TRIES {
                return outcome;
            }
            tokio::time::sleep(pause.unwrap_or(PAUSE * 2u32.pow(tries - 1)).min(PAUSE_MAX)).await;
        }
    }

    fn tokens(&self) -> std::sync::MutexGuard<'_, HashMap<String, String>> {
        self.tokens.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Whether `url` is at the registry itself: only then it gets what we got for the registry.
    fn is_ours(&self, url: &str) -> bool {
        let origin = |u: &str| Url::parse(u).ok().map(|u| u.origin());
        origin(url).is_some_and(|o| Some(o) == origin(&self.endpoint.base))
    }

    async fn authenticate(&self, response: &Response, scope: &str) -> Result<()> {
        let challenge = response
            .headers()
            .get_all("www-authenticate")
            .iter()
            .filter_map(|h| parse_challenge(h.to_str().ok()?))
            // Bearer before Basic where both are offered: the password then goes to the token service only.
            .max_by_key(|c| matches!(c, Challenge::Bearer { .. }));
        let header = match challenge {
            None => return Ok(()),
            Some(Challenge::Basic) => match &self.auth {
                Some(a) if !a.username.is_empty() => basic(a),
                _ => return Ok(()),
            },
            Some(Challenge::Bearer { .. }) if self.auth.as_ref().is_some_and(|a| !a.registry_token.is_empty()) => {
                format!("Bearer {}", self.auth.as_ref().map_or("", |a| &a.registry_token))
            }
            Some(Challenge::Bearer { realm, service }) => format!("Bearer {}", self.token(&realm, &service, scope).await?),
        };
        self.tokens().insert(scope.to_owned(), header);
        Ok(())
    }

    /// Asks the token service. `scope` may be several, separated by spaces.
    async fn token(&self, realm: &str, service: &str, scope: &str) -> Result<String> {
        let url = self.check_realm(realm)?;
        let client = &self.endpoint.client;
        let request = match &self.auth {
            Some(a) if !a.identity_token.is_empty() => {
                client.post(url.clone()).header("Content-Type", "application/x-www-form-urlencoded").body(form(&[
                    ("grant_type", "refresh_token"),
                    ("service", service),
                    ("client_id", "wharf"),
                    ("scope", scope),
                    ("refresh_token", &a.identity_token),
                ]))
            }
            other => {
                let mut query = vec![("service", service)];
                query.extend(scope.split(' ').map(|s| ("scope", s)));
                let request = client.get(url.clone()).query(&query);
                match other {
                    Some(a) if !a.username.is_empty() => request.header("Authorization", basic(a)),
                    _ => request,
                }
            }
        };
        let response = request.send().await.map_err(|e| failed(realm, e))?;
        if !response.status().is_success() {
            let status = response.status();
            let why = problem(response).await;
            return Err(match status {
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => self.denied(&why),
                _ => Error::new(Kind::Unavailable, format!("the token service {realm} answers {status}: {why}")),
            });
        }
        #[derive(Deserialize)]
        struct Token {
            #[serde(default)]
            token: String,
            #[serde(default)]
            access_token: String,
        }
        let bytes = capped(response, 1 << 20).await?;
        let token: Token =
            serde_json::from_slice(&bytes).map_err(|e| Error::invalid(format!("the token service {realm} sent no token")).because(e))?;
        let token = if token.token.is_empty() { token.access_token } else { token.token };
        // It becomes a header: a line break in it would be another header.
        if token.is_empty() || token.bytes().any(|b| !b.is_ascii_graphic()) {
            return Err(Error::invalid(format!("the token service {realm} sent no usable token")));
        }
        Ok(token)
    }

    /// A realm comes from the other side and gets our credentials, so it must be https (or the registry's own http) and in the
    /// registry's domain, or a host the administrator named (CVE-2026-33540).
    fn check_realm(&self, realm: &str) -> Result<Url> {
        let refuse =
            |why: &str| Error::invalid(format!("registry {} sends to the token service {realm:?}, {why}", self.reference.domain()));
        let url = Url::parse(realm).map_err(|_| refuse("which is no URL"))?;
        let base = Url::parse(&self.endpoint.base).map_err(|_| refuse("which cannot be compared"))?;
        let host = url.host_str().unwrap_or("");
        let own = base.host_str().unwrap_or("");
        let same_port = host == own && url.port_or_known_default() == base.port_or_known_default();
        match (base.scheme(), url.scheme()) {
            (_, "https") => {}
            ("http", "http") if host == own => {}
            _ => return Err(refuse("which is not https")),
        }
        let loopback = |h: &str| {
            self.transport.is_insecure(h)
                && (h == "localhost" || h.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|a| a.is_loopback()))
        };
        let related = same_port
            || host == own
            || (loopback(host) && loopback(own))
            || registrable(host).is_some_and(|d| registrable(own) == Some(d))
            || self.transport.token_hosts().iter().any(|t| t == host);
        if !url.username().is_empty() || url.password().is_some() || !related {
            return Err(refuse("which is not of its domain: an administrator may allow that host"));
        }
        Ok(url)
    }

    fn denied(&self, why: &str) -> Error {
        let name = self.reference.familiar_name();
        let why = if why.is_empty() { "denied: requested access to the resource is denied" } else { why };
        if self.actions.contains("push") {
            return Error::new(Kind::Forbidden, why.to_owned());
        }
        Error::new(Kind::NotFound, format!("pull access denied for {name}, repository does not exist or may require 'docker login': {why}"))
    }

    /// What an unsuccessful answer means.
    async fn refusal(&self, response: Response, wanted: &str) -> Error {
        let status = response.status();
        let url = response.url().clone();
        let why = problem(response).await;
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => self.denied(&why),
            StatusCode::NOT_FOUND => {
                let why = if why.is_empty() { "manifest unknown: manifest unknown".to_owned() } else { why };
                Error::new(Kind::NotFound, format!("{wanted} not found: {why}"))
            }
            StatusCode::TOO_MANY_REQUESTS => {
                let why = if why.is_empty() { "toomanyrequests: too many requests".to_owned() } else { why };
                Error::new(Kind::Unavailable, why)
            }
            _ => Error::new(Kind::Unavailable, format!("received unexpected HTTP status {status} from {url}: {why}")),
        }
    }

    /// The manifest or index under a tag or digest, digest checked.
    pub async fn manifest(&self, reference: &str) -> Result<RawManifest> {
        let url = self.url(&format!("manifests/{reference}"));
        let response = self.send(Method::GET, &url, &self.scope(), &|r| r.header("Accept", ACCEPT)).await?;
        if !response.status().is_success() {
            let separator = if reference.starts_with("sha256:") { '@' } else { ':' };
            let wanted = format!("manifest for {}{separator}{reference}", self.reference.familiar_name());
            return Err(self.refusal(response, &wanted).await);
        }
        let header = |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
        let content_type = header("content-type");
        let said = header("docker-content-digest");
        let bytes = capped(response, MANIFEST_MAX).await?;
        let digest = Digest::of(&bytes);
        let expected =
            if reference.starts_with("sha256:") { Some(reference.to_owned()) } else { said.filter(|d| d.starts_with("sha256:")) };
        if let Some(expected) = expected
            && expected != digest.to_string()
        {
            return Err(Error::invalid(format!("manifest verification failed for digest {expected}: the registry sent {digest}")));
        }
        Ok(RawManifest { digest, content_type, bytes })
    }

    /// All tags.
    pub async fn tags(&self) -> Result<Vec<String>> {
        #[derive(Deserialize)]
        struct Tags {
            tags: Option<Vec<String>>,
        }
        let mut url = self.url("tags/list");
        let mut all = Vec::new();
        // A registry that always names a next page must end somewhere.
        for _page in 0..100 {
            let response = self.send(Method::GET, &url, &self.scope(), &|r| r).await?;
            if !response.status().is_success() {
                return Err(self.refusal(response, &format!("tags of {}", self.reference.familiar_name())).await);
            }
            let next = response.headers().get("link").and_then(|l| l.to_str().ok()).and_then(next_page).map(str::to_owned);
            let bytes = capped(response, MANIFEST_MAX).await?;
            let page: Tags = serde_json::from_slice(&bytes).map_err(|e| Error::invalid("the registry sent no list of tags").because(e))?;
            all.extend(page.tags.unwrap_or_default());
            let Some(next) = next else { return Ok(all) };
            let joined = Url::parse(&url)
                .and_then(|u| u.join(&next))
                .map_err(|e| Error::invalid("the registry's next page is no URL").because(e))?;
            if !self.is_ours(joined.as_str()) {
                return Err(Error::invalid("the registry's next page of tags is elsewhere"));
            }
            url = joined.into();
        }
        Ok(all)
    }

    /// A small blob (a configuration), digest and size checked.
    pub async fn small_blob(&self, digest: &Digest, size: u64) -> Result<Bytes> {
        let response = self.blob(digest, 0).await?;
        let bytes = capped(response, size).await?;
        if bytes.len() as u64 != size || Digest::of(&bytes) != *digest {
            return Err(Error::invalid(format!(
                "blob {digest} failed verification: the registry sent {} bytes of {}",
                bytes.len(),
                Digest::of(&bytes)
            )));
        }
        Ok(bytes)
    }

    async fn blob(&self, digest: &Digest, offset: u64) -> Result<Response> {
        let url = self.url(&format!("blobs/{digest}"));
        let range = format!("bytes={offset}-");
        // Asked for as it is: a transport encoding would change what is hashed.
        let with = |r: RequestBuilder| {
            let r = r.header("Accept-Encoding", "identity");
            if offset > 0 { r.header("Range", &range) } else { r }
        };
        let response = self.send(Method::GET, &url, &self.scope(), &with).await?;
        if !response.status().is_success() {
            return Err(self.refusal(response, &format!("blob {digest}")).await);
        }
        Ok(response)
    }

    /// A blob from `offset` on, taking up again where the connection breaks. Ends after exactly `size` bytes or with an error.
    /// Yields `None` first if the registry starts over from zero.
    pub fn blob_stream<'a>(&'a self, digest: &'a Digest, offset: u64, size: u64) -> impl Stream<Item = Result<Option<Bytes>>> + Send + 'a {
        struct State<'a> {
            registry: &'a Registry,
            digest: &'a Digest,
            at: u64,
            size: u64,
            body: Option<std::pin::Pin<Box<dyn Stream<Item = reqwest::Result<Bytes>> + Send>>>,
            failures: u32,
        }
        let state = State { registry: self, digest, at: offset, size, body: None, failures: 0 };
        futures_util::stream::try_unfold(state, |mut s| async move {
            loop {
                if s.at == s.size {
                    return Ok(None);
                }
                let Some(body) = &mut s.body else {
                    let response = s.registry.blob(s.digest, s.at).await?;
                    let partial = response.status() == StatusCode::PARTIAL_CONTENT;
                    let start = if partial { range_start(&response).unwrap_or(s.at) } else { 0 };
                    if partial && start != s.at {
                        return Err(Error::invalid(format!("the registry sent blob {} from {start} instead of {}", s.digest, s.at)));
                    }
                    if let Some(length) = response.content_length()
                        && length != s.size - start
                    {
                        return Err(Error::invalid(format!(
                            "blob {} failed verification: the registry announces {} bytes, the manifest {}",
                            s.digest,
                            start + length,
                            s.size
                        )));
                    }
                    s.body = Some(Box::pin(response.bytes_stream()));
                    if start != s.at {
                        s.at = 0;
                        return Ok(Some((None, s)));
                    }
                    continue;
                };
                match body.next().await {
                    Some(Ok(chunk)) if chunk.is_empty() => {}
                    Some(Ok(chunk)) => {
                        s.failures = 0;
                        s.at += chunk.len() as u64;
                        if s.at > s.size {
                            return Err(Error::invalid(format!(
                                "blob {} failed verification: more than its {} bytes came",
                                s.digest, s.size
                            )));
                        }
                        return Ok(Some((Some(chunk), s)));
                    }
                    broken => {
                        s.failures += 1;
                        if s.failures >= TRIES {
                            let why = match broken {
                                Some(Err(e)) => failed(&s.registry.url(&format!("blobs/{}", s.digest)), e),
                                _ => Error::new(Kind::Unavailable, format!("blob {} ends after {} of {} bytes", s.digest, s.at, s.size)),
                            };
                            return Err(why);
                        }
                        s.body = None;
                        tokio::time::sleep(PAUSE * 2u32.pow(s.failures - 1)).await;
                    }
                }
            }
        })
    }

    /// Whether the repository has a blob.
    pub async fn has_blob(&self, digest: &Digest) -> Result<bool> {
        let response = self.send(Method::HEAD, &self.url(&format!("blobs/{digest}")), &self.scope(), &|r| r).await?;
        match response.status() {
            s if s.is_success() => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(self.refusal(response, &format!("blob {digest}")).await),
        }
    }

    /// Uploads a blob, or has it mounted from `from`, another repository of this registry. `open` gives the bytes; it is
    /// called again when an upload has to start over. Returns whether it was mounted.
    pub async fn put_blob<S>(&self, digest: &Digest, size: u64, from: Option<&str>, open: impl Fn() -> Result<S>) -> Result<bool>
    where
        S: Stream<Item = std::io::Result<Bytes>> + Send + 'static,
    {
        let mut failures = 0;
        loop {
            let (url, scope) = match from.filter(|_| failures == 0) {
                Some(from) => (
                    self.url(&format!("blobs/uploads/?mount={digest}&from={}", from.replace('/', "%2F"))),
                    format!("{} repository:{from}:pull", self.scope()),
                ),
                None => (self.url("blobs/uploads/"), self.scope()),
            };
            let response = self.send(Method::POST, &url, &scope, &|r| r.header("Content-Length", "0")).await?;
            match response.status() {
                StatusCode::CREATED => return Ok(true),
                StatusCode::ACCEPTED => {}
                _ => return Err(self.refusal(response, &format!("uploading to {}", self.reference.familiar_name())).await),
            }
            let mut location = self.location(&response)?;
            location.query_pairs_mut().append_pair("digest", &digest.to_string());
            let mut request = self.endpoint.client.put(location.clone());
            let token = self.tokens().get(&scope).cloned();
            if let Some(token) = token.filter(|_| self.is_ours(location.as_str())) {
                request = request.header("Authorization", token);
            }
            let body = reqwest::Body::wrap_stream(open()?);
            let sent = request.header("Content-Type", "application/octet-stream").header("Content-Length", size).body(body).send().await;
            let error = match sent {
                Ok(response) if response.status() == StatusCode::CREATED => return Ok(false),
                Ok(response) if is_passing(response.status()) || response.status() == StatusCode::NOT_FOUND => {
                    self.refusal(response, &format!("upload of {digest}")).await
                }
                Ok(response) => return Err(self.refusal(response, &format!("upload of {digest}")).await),
                Err(e) => failed(location.as_str(), e),
            };
            failures += 1;
            if failures >= TRIES {
                return Err(error);
            }
            tokio::time::sleep(PAUSE * 2u32.pow(failures - 1)).await;
        }
    }

    fn location(&self, response: &Response) -> Result<Url> {
        let text = response.headers().get("location").and_then(|l| l.to_str().ok());
        let text = text.ok_or_else(|| Error::invalid("the registry names no place for the upload"))?;
        response.url().join(text).map_err(|e| Error::invalid("the registry's place for the upload is no URL").because(e))
    }

    /// Uploads a manifest under a tag or digest.
    pub async fn put_manifest(&self, reference: &str, media_type: &str, bytes: Bytes) -> Result<()> {
        let url = self.url(&format!("manifests/{reference}"));
        let with = |r: RequestBuilder| r.header("Content-Type", media_type).body(bytes.clone());
        let response = self.send(Method::PUT, &url, &self.scope(), &with).await?;
        if response.status().is_success() {
            return Ok(());
        }
        Err(self.refusal(response, &format!("manifest for {}:{reference}", self.reference.familiar_name())).await)
    }

    /// Asks the base of the API with the credentials, for `docker login`.
    pub async fn login(&self) -> Result<()> {
        let url = format!("{}/v2/", self.endpoint.base);
        let response = self.send(Method::GET, &url, "", &|r| r).await?;
        if response.status().is_success() {
            return Ok(());
        }
        let status = response.status();
        let why = problem(response).await;
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let why = if why.is_empty() { "unauthorized: incorrect username or password" } else { &why };
                Err(Error::new(Kind::Forbidden, format!("Get \"{url}\": {why}")))
            }
            _ => Err(Error::new(Kind::Unavailable, format!("login attempt to {url} failed with status: {status}"))),
        }
    }
}

/// Whether credentials say they are for this registry (or do not say).
fn is_for(auth: &RegistryAuth, domain: &str) -> bool {
    let empty = auth.username.is_empty() && auth.identity_token.is_empty() && auth.registry_token.is_empty();
    let address = auth.server_address.trim_start_matches("https://").trim_start_matches("http://");
    let host = address.split('/').next().unwrap_or("");
    let host = if matches!(host, "index.docker.io" | "registry-1.docker.io") { "docker.io" } else { host };
    !empty && (host.is_empty() || host == domain)
}

fn basic(auth: &RegistryAuth) -> String {
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{}:{}", auth.username, auth.password)))
}

fn form(pairs: &[(&str, &str)]) -> String {
    let mut url = Url::parse("http://x/").expect("a constant URL");
    url.query_pairs_mut().extend_pairs(pairs);
    url.query().unwrap_or("").to_owned()
}

/// The part of a host that one party registers: two labels, or three under a country's short second level (`co.uk`).
/// Addresses have none.
fn registrable(host: &str) -> Option<&str> {
    if host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok() {
        return None;
    }
    let dots: Vec<usize> = host.rmatch_indices('.').map(|(at, _)| at).collect();
    let top = dots.first().map(|at| host.len() - at - 1)?;
    let second = dots.first()? - dots.get(1).map_or(0, |at| at + 1);
    let labels = if top == 2 && second <= 3 { 3 } else { 2 };
    match dots.get(labels - 1) {
        Some(at) => Some(&host[at + 1..]),
        None if dots.len() == labels - 1 => Some(host),
        None => None,
    }
}

fn is_passing(status: StatusCode) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::REQUEST_TIMEOUT
        || (status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED)
}

fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get("retry-after")?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn range_start(response: &Response) -> Option<u64> {
    let text = response.headers().get("content-range")?.to_str().ok()?;
    text.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}

fn next_page(link: &str) -> Option<&str> {
    let (url, rest) = link.strip_prefix('<')?.split_once('>')?;
    rest.contains("rel=\"next\"").then_some(url)
}

/// A body of at most `most` bytes.
async fn capped(response: Response, most: u64) -> Result<Bytes> {
    let url = response.url().to_string();
    let mut out = Vec::new();
    let mut body = response.bytes_stream();
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|e| failed(&url, e))?;
        if (out.len() + chunk.len()) as u64 > most {
            return Err(Error::invalid(format!("{url} sent more than {most} bytes")));
        }
        out.extend_from_slice(&chunk);
    }
    Ok(out.into())
}

/// The registry's own words: `code: message`, as Docker prints them.
async fn problem(response: Response) -> String {
    #[derive(Deserialize)]
    struct Problems {
        #[serde(default)]
        errors: Vec<Problem>,
    }
    #[derive(Deserialize)]
    struct Problem {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let Ok(bytes) = capped(response, 64 * 1024).await else { return String::new() };
    let Ok(problems) = serde_json::from_slice::<Problems>(&bytes) else { return String::new() };
    let Some(first) = problems.errors.first() else { return String::new() };
    let clean = |s: &str| s.chars().filter(|c| !c.is_control()).take(400).collect::<String>();
    format!("{}: {}", clean(&first.code).to_lowercase().replace('_', " "), clean(&first.message))
}

/// `Basic …` or `Bearer realm="…",service="…"` (RFC 9110, 11.6.1).
fn parse_challenge(header: &str) -> Option<Challenge> {
    let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let (mut realm, mut service) = (None, String::new());
    let mut rest = rest.trim();
    while let Some((key, tail)) = rest.split_once('=') {
        let (value, tail) = match tail.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => tail.split_once(',').map_or((tail, ""), |(v, t)| (v, t)),
        };
        match key.trim().to_ascii_lowercase().as_str() {
            "realm" => realm = Some(value.to_owned()),
            "service" => service = value.to_owned(),
            _ => {}
        }
        rest = tail.trim_start_matches([',', ' ']);
    }
    Some(Challenge::Bearer { realm: realm?, service })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::ImagesConfig;

    fn registry(base: &str, auth: Option<RegistryAuth>) -> Registry {
        let transport = Transport::new(&ImagesConfig { token_hosts: vec!["tokens.example.net".into()], ..Default::default() }).unwrap();
        let endpoint = Endpoint { base: base.to_owned(), client: reqwest::Client::new(), mirror: false };
        Registry::new(transport, endpoint, "registry.example.com/a/b".parse().unwrap(), auth.as_ref(), "pull")
    }

    #[test]
    fn sec_h4_a_token_realm_stays_in_the_registrys_domain_and_on_tls() {
        let r = registry("https://registry.example.com", None);
        for good in ["https://auth.example.com/token", "https://registry.example.com:8443/t", "https://tokens.example.net/t"] {
            assert!(r.check_realm(good).is_ok(), "{good}");
        }
        for bad in [
            "http://auth.example.com/token",
            "https://evil.com/token",
            "https://example.com.evil.com/",
            "https://169.254.169.254/latest",
            "http://127.0.0.1/",
            "https://user:pw@auth.example.com/",
            "file:///etc/passwd",
            "nonsense",
        ] {
            assert!(r.check_realm(bad).is_err(), "{bad}");
        }
        let local = registry("http://127.0.0.1:5000", None);
        assert!(local.check_realm("http://127.0.0.1:5001/token").is_ok());
        assert!(local.check_realm("http://10.0.0.1/token").is_err());
    }

    #[test]
    fn what_one_party_registers() {
        assert_eq!(registrable("a.b.example.com"), Some("example.com"));
        assert_eq!(registrable("example.com"), Some("example.com"));
        assert_eq!(registrable("a.victim.co.uk"), Some("victim.co.uk"));
        assert_eq!(registrable("co.uk"), None);
        assert_eq!(registrable("localhost"), None);
        assert_eq!(registrable("10.0.0.1"), None);
    }

    #[test]
    fn sec_h3_credentials_are_for_the_registry_they_name() {
        let a = |server: &str| RegistryAuth { username: "u".into(), server_address: server.into(), ..Default::default() };
        assert!(is_for(&a("https://index.docker.io/v1/"), "docker.io"));
        assert!(is_for(&a("localhost:5000"), "localhost:5000") && is_for(&a(""), "x.io"));
        assert!(!is_for(&a("ghcr.io"), "evil.io") && !is_for(&RegistryAuth::default(), "x.io"));
        let r = registry("https://registry.example.com", Some(a("registry.example.com")));
        assert!(
            r.is_ours("https://registry.example.com/v2/x")
                && !r.is_ours("https://cdn.example.com/x")
                && !r.is_ours("http://registry.example.com/x")
        );
    }

    #[test]
    fn challenges() {
        let bearer = |realm: &str, service: &str| Some(Challenge::Bearer { realm: realm.into(), service: service.into() });
        assert_eq!(parse_challenge("Basic realm=\"x\""), Some(Challenge::Basic));
        assert_eq!(parse_challenge("Bearer realm=\"https://a/t\",service=\"s, t\",scope=\"r:x:pull\""), bearer("https://a/t", "s, t"));
        assert_eq!(parse_challenge("bearer service=s, realm=https://a"), bearer("https://a", "s"));
        assert_eq!(parse_challenge("Bearer realm=\"unclosed"), None);
        assert_eq!(parse_challenge("Negotiate"), None);
    }
}
