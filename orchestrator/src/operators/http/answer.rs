//! HTTP responses.

use std::io::Write as _;

/// The statuses of all responses; RFC 9110 and 6585.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Ok,
    BadRequest,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    RequestTimeout,
    HeaderTooLarge,
    Unavailable,
}

impl Status {
    pub(super) const ALL: [Self; 8] = [
        Self::Ok,
        Self::BadRequest,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::HeaderTooLarge,
        Self::Unavailable,
    ];

    pub(super) const fn number(self) -> u16 {
        match self {
            Self::Ok => 200,
            Self::BadRequest => 400,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::RequestTimeout => 408,
            Self::HeaderTooLarge => 431,
            Self::Unavailable => 503,
        }
    }

    const fn reason(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::BadRequest => "Bad Request",
            Self::Forbidden => "Forbidden",
            Self::NotFound => "Not Found",
            Self::MethodNotAllowed => "Method Not Allowed",
            Self::RequestTimeout => "Request Timeout",
            Self::HeaderTooLarge => "Request Header Fields Too Large",
            Self::Unavailable => "Service Unavailable",
        }
    }

    /// The body of an error response, for people.
    const fn words(self) -> &'static str {
        match self {
            Self::Ok => "ok\n",
            Self::BadRequest => "this is not an HTTP request\n",
            Self::Forbidden => {
                "Host must name loopback, such as 127.0.0.1 or localhost, as that is where Muster listens; \
                 a proxy has to send it so\n"
            }
            Self::NotFound => "not found; try /, /metrics, /healthz, /readyz and /status.json\n",
            Self::MethodNotAllowed => "only GET and HEAD\n",
            Self::RequestTimeout => "the request did not arrive in time\n",
            Self::HeaderTooLarge => "the request is too long\n",
            Self::Unavailable => "the daemon did not answer within a second\n",
        }
    }
}

/// A response.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: Status,
    content_type: &'static str,
    /// Whether the response depends on Accept.
    is_negotiated: bool,
    body: Vec<u8>,
}

pub(super) const TEXT: &str = "text/plain; charset=utf-8";

/// Only this server's own resources, and no frames.
const CONTENT_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
                              img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

impl Answer {
    /// A successful response.
    pub(super) fn of(content_type: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Self { status: Status::Ok, content_type, is_negotiated: false, body: body.into() }
    }

    /// The same, as one of several available formats.
    pub(super) fn negotiated(self) -> Self {
        Self { is_negotiated: true, ..self }
    }

    /// A response with a short text only.
    pub(super) fn plain(status: Status) -> Self {
        Self::with_words(status, status.words())
    }

    pub(super) fn with_words(status: Status, words: &str) -> Self {
        Self { status, content_type: TEXT, is_negotiated: false, body: words.into() }
    }

    /// The whole response, or its head only.
    pub(super) fn into_bytes(self, is_head: bool) -> Vec<u8> {
        let Self { status, content_type, is_negotiated, body } = self;
        let mut bytes = Vec::with_capacity(body.len() + 512);
        let allow = match status {
            Status::MethodNotAllowed => "Allow: GET, HEAD\r\n",
            _ => "",
        };
        let vary = if is_negotiated { "Vary: Accept\r\n" } else { "" };
        // Writing to a vector does not fail.
        let _ = write!(
            bytes,
            "HTTP/1.1 {} {}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\nConnection: close\r\n\
             Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n\
             Content-Security-Policy: {CONTENT_POLICY}\r\n{vary}{allow}\r\n",
            status.number(),
            status.reason(),
            body.len(),
        );
        if !is_head {
            bytes.extend_from_slice(&body);
        }
        bytes
    }
}
