//! What somebody wants, read from the bytes of a request.

use super::answer::Status;

/// The longest request, in bytes, its headers included.
pub(super) const REQUEST_MAX: usize = 8 * 1024;

/// The most headers of a request.
const HEADERS_MAX: usize = 64;

/// A request for something that there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) path: Path,
    /// Whether only the head of the answer is wanted.
    pub(super) is_head: bool,
}

/// What there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Path {
    Metrics,
    Healthz,
    Readyz,
    Status,
    Page,
    Style,
    Script,
}

impl Path {
    fn parse(target: &str) -> Option<Self> {
        let path = target.split_once('?').map_or(target, |(path, _)| path);
        Some(match path {
            "/metrics" => Self::Metrics,
            "/healthz" => Self::Healthz,
            "/readyz" => Self::Readyz,
            "/status.json" => Self::Status,
            "/" => Self::Page,
            "/page.css" => Self::Style,
            "/page.js" => Self::Script,
            _ => return None,
        })
    }

    /// Whether the loop has to be asked.
    pub(super) fn needs_figures(self) -> bool {
        match self {
            Self::Metrics | Self::Healthz | Self::Readyz | Self::Status => true,
            Self::Page | Self::Style | Self::Script => false,
        }
    }
}

/// Reads a request. `None`: it is not whole yet.
///
/// # Errors
/// The status that says why it cannot be served, RFC 9110 and 9112.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<Request>, Status> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) if bytes.len() < REQUEST_MAX => return Ok(None),
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            return Err(Status::HeaderTooLarge);
        }
        Err(_) => return Err(Status::BadRequest),
    }
    let (Some(method), Some(target), Some(version)) =
        (request.method, request.path, request.version)
    else {
        return Err(Status::BadRequest);
    };
    let hosts = request.headers.iter().filter(|it| it.name.eq_ignore_ascii_case("host")).count();
    // RFC 9112, 3.2: "A server MUST respond with a 400 (Bad Request) status code to any HTTP/1.1 request message that
    // lacks a Host header field and to any request message that contains more than one Host header field line".
    if hosts > 1 || hosts == 0 && version == 1 {
        return Err(Status::BadRequest);
    }
    let path = Path::parse(target).ok_or(Status::NotFound)?;
    match method {
        "GET" => Ok(Some(Request { path, is_head: false })),
        "HEAD" => Ok(Some(Request { path, is_head: true })),
        _ => Err(Status::MethodNotAllowed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read() {
        let get = |path| Ok(Some(Request { path, is_head: false }));
        assert_eq!(parse(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"), get(Path::Metrics));
        assert_eq!(parse(b"GET /?a=b HTTP/1.0\r\n\r\n"), get(Path::Page));
        let head = Request { path: Path::Healthz, is_head: true };
        assert_eq!(parse(b"HEAD /healthz HTTP/1.0\n\n"), Ok(Some(head)));
        assert_eq!(parse(b"GET /metrics HTTP/1.1\r\nHost"), Ok(None));
        assert_eq!(parse(b""), Ok(None));
    }

    #[test]
    fn what_cannot_be_served_says_why() {
        let status = |bytes: &[u8]| parse(bytes).unwrap_err();
        assert_eq!(status(b"GET /metrics HTTP/1.1\r\n\r\n"), Status::BadRequest);
        assert_eq!(status(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"), Status::BadRequest);
        assert_eq!(status(b"\x16\x03\x01\x02\x00"), Status::BadRequest);
        assert_eq!(status(b"GET / HTTP/2.0\r\n\r\n"), Status::BadRequest);
        assert_eq!(status(b"GET /other HTTP/1.0\r\n\r\n"), Status::NotFound);
        assert_eq!(status(b"GET /../metrics HTTP/1.0\r\n\r\n"), Status::NotFound);
        assert_eq!(status(b"POST /metrics HTTP/1.0\r\n\r\n"), Status::MethodNotAllowed);
        let many = format!("GET / HTTP/1.0\r\n{}\r\n", "a: b\r\n".repeat(HEADERS_MAX + 1));
        assert_eq!(status(many.as_bytes()), Status::HeaderTooLarge);
        let long = format!("GET /{} HTTP/1.0\r\n", "x".repeat(REQUEST_MAX));
        assert_eq!(status(long.as_bytes()), Status::HeaderTooLarge);
    }

    #[test]
    fn any_bytes_are_a_request_or_not() {
        let seeds: [&[u8]; 3] = [
            b"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n",
            b"HEAD / HTTP/1.0\r\n\r\n",
            b"\0\xff\r\n: \r\n\t \x7f",
        ];
        for seed in seeds {
            for place in 0..seed.len() {
                let _ = parse(&seed[..place]);
                for byte in 0..=u8::MAX {
                    let mut bytes = seed.to_vec();
                    bytes[place] = byte;
                    let _ = parse(&bytes);
                }
            }
        }
    }
}
