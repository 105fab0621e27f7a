//! Response headers of pages and our API that narrow what a browser will do with them. Docker's answers carry Docker's.
//!
//! No Strict-Transport-Security: it binds the host's name on every port, and containers publish plain HTTP on theirs.

use super::Face;
use axum::response::Response;
use http::header::{self, HeaderName, HeaderValue};

/// Nothing but our own files; no inline scripts or styles, no frames, forms to ourselves only.
const CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     img-src 'self' data:; font-src 'self'; manifest-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// Adds them; what a handler set itself stays.
pub(super) fn add(face: Face, response: &mut Response) {
    let add = |response: &mut Response, name: HeaderName, value: &'static str| {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    };
    if face == Face::Docker {
        return;
    }
    add(response, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    add(response, header::CACHE_CONTROL, "no-store");
    add(response, header::REFERRER_POLICY, "same-origin");
    add(
        response,
        header::CONTENT_SECURITY_POLICY,
        if face == Face::Pages { CONTENT_POLICY } else { "default-src 'none'; frame-ancestors 'none'" },
    );
    if face == Face::Pages {
        // For browsers that do not know frame-ancestors.
        add(response, header::X_FRAME_OPTIONS, "DENY");
        add(response, HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
        add(response, HeaderName::from_static("permissions-policy"), "camera=(), microphone=(), geolocation=(), payment=(), usb=()");
    }
}
