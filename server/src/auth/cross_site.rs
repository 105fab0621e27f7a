//! Keeps other web sites from using a person's browser: state-changing requests and WebSockets must come from our own
//! pages, whatever credential rides along (cookie or client certificate). Programs send neither header and pass.

use super::Refusal;
use http::{HeaderMap, Method, Uri, header};

/// Refuses a request that another site's page made.
///
/// # Errors
/// 403 when `Sec-Fetch-Site` or `Origin` says so.
pub fn refuse(method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
    let websocket = headers.get(header::UPGRADE).is_some_and(|u| u.as_bytes().eq_ignore_ascii_case(b"websocket"));
    if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) && !websocket {
        return Ok(());
    }
    let foreign = || Err(Refusal::forbidden("this request was made by a page of another site"));
    if let Some(site) = headers.get("sec-fetch-site")
        && !matches!(site.as_bytes(), b"same-origin" | b"none")
    {
        return foreign();
    }
    match headers.get(header::ORIGIN) {
        None => Ok(()),
        Some(origin) if same_host(origin.as_bytes(), uri, headers) => Ok(()),
        Some(_) => foreign(),
    }
}

/// Whether `Origin` is present and names the host that was asked: what a WebSocket by cookie must have. WebSockets come
/// by HTTP/1.1 only.
pub fn is_own_origin(headers: &HeaderMap) -> bool {
    headers.get(header::ORIGIN).is_some_and(|origin| same_host(origin.as_bytes(), &Uri::default(), headers))
}

fn same_host(origin: &[u8], uri: &Uri, headers: &HeaderMap) -> bool {
    // HTTP/2 has the host in the URI, HTTP/1.1 in its header.
    let host = uri.authority().map(|a| a.as_str().as_bytes()).or_else(|| headers.get(header::HOST).map(|h| h.as_bytes()));
    let Some(host) = host else { return false };
    let after_scheme = origin.strip_prefix(b"https://").or_else(|| origin.strip_prefix(b"http://"));
    after_scheme.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(k, v)| (k.parse().unwrap(), v.parse().unwrap())).collect()
    }

    #[test]
    fn sec_k01_a_post_from_another_site_is_refused() {
        let post = |pairs| refuse(&Method::POST, &Uri::from_static("/x"), &headers(pairs)).is_ok();
        assert!(post(&[("host", "h:8443")]), "a program");
        assert!(post(&[("host", "h:8443"), ("sec-fetch-site", "same-origin"), ("origin", "https://h:8443")]));
        assert!(post(&[("host", "h:8443"), ("sec-fetch-site", "none")]));
        assert!(!post(&[("host", "h:8443"), ("sec-fetch-site", "cross-site")]));
        assert!(!post(&[("host", "h:8443"), ("sec-fetch-site", "same-site")]));
        assert!(!post(&[("host", "h:8443"), ("origin", "https://evil")]), "an old browser");
        assert!(!post(&[("host", "h:8443"), ("origin", "null")]));
        assert!(!post(&[("host", "h:8443"), ("sec-fetch-site", "same-origin"), ("origin", "https://h:1")]));
    }

    #[test]
    fn sec_k04_a_websocket_from_another_site_is_refused() {
        let pairs = headers(&[("host", "h"), ("upgrade", "WebSocket"), ("origin", "https://evil")]);
        let refuse = |headers: &HeaderMap| refuse(&Method::GET, &Uri::from_static("/x"), headers);
        assert!(refuse(&pairs).is_err());
        assert!(refuse(&headers(&[("host", "h"), ("upgrade", "websocket"), ("origin", "https://h")])).is_ok());
        assert!(refuse(&headers(&[("host", "h"), ("origin", "https://evil")])).is_ok(), "a link");
    }

    #[test]
    fn over_http_2_the_host_is_in_the_uri() {
        let uri = Uri::from_static("https://h:8443/ui/containers");
        let from = |origin| refuse(&Method::POST, &uri, &headers(&[("origin", origin)]));
        assert!(from("https://h:8443").is_ok());
        assert!(from("https://evil:8443").is_err());
    }
}
