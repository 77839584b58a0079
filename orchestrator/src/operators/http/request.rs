//! HTTP requests.

use std::net::IpAddr;

use super::accept::Format;
use super::answer::Status;

/// The longest request, in bytes, its headers included.
pub(super) const REQUEST_MAX: usize = 8 * 1024;

/// The largest number of headers.
const HEADERS_MAX: usize = 64;

/// A valid request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) path: Path,
    /// Whether it is a HEAD request.
    pub(super) is_head: bool,
    /// The requested format of metrics.
    pub(super) format: Format,
    /// Whether `Host` names loopback or is missing.
    pub(super) is_for_loopback: bool,
}

/// The paths.
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

    /// Whether the loop's figures are needed.
    pub(super) fn needs_figures(self) -> bool {
        match self {
            Self::Metrics | Self::Healthz | Self::Readyz | Self::Status => true,
            Self::Page | Self::Style | Self::Script => false,
        }
    }
}

/// Parses a request. `None` if it is incomplete.
///
/// # Errors
/// The status for a request that cannot be served; RFC 9110 and 9112.
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
    let is_head = match method {
        "GET" => false,
        "HEAD" => true,
        _ => return Err(Status::MethodNotAllowed),
    };
    let values = |name: &'static str| {
        let named = request.headers.iter().filter(move |it| it.name.eq_ignore_ascii_case(name));
        named.filter_map(|it| std::str::from_utf8(it.value).ok())
    };
    let format = Format::wanted(&values("accept"));
    let is_for_loopback = hosts == 0 || values("host").any(is_loopback_name);
    Ok(Some(Request { path, is_head, format, is_for_loopback }))
}

/// Whether the value of Host is an address or a name of loopback, with or without a port; RFC 6761, 6.3. An empty value
/// is not.
fn is_loopback_name(host: &str) -> bool {
    let host = host.trim();
    let without_port = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or(rest, |(address, _)| address),
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    match without_port.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => {
            let name = without_port.trim_end_matches('.').to_ascii_lowercase();
            name.is_empty() || name == "localhost" || name.ends_with(".localhost")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read() {
        let format = Format::Classic;
        let get = |path| Ok(Some(Request { path, is_head: false, format, is_for_loopback: true }));
        assert_eq!(parse(b"GET /metrics HTTP/1.1\r\nHost:\r\n\r\n"), get(Path::Metrics));
        assert_eq!(parse(b"GET /?a=b HTTP/1.0\r\n\r\n"), get(Path::Page));
        let head = Request { is_head: true, ..get(Path::Healthz).unwrap().unwrap() };
        assert_eq!(parse(b"HEAD /healthz HTTP/1.0\n\n"), Ok(Some(head)));
        assert_eq!(parse(b"GET /metrics HTTP/1.1\r\nHost"), Ok(None));
        assert_eq!(parse(b""), Ok(None));
    }

    #[test]
    fn names_of_loopback_are_known() {
        for (host, expected) in [
            ("127.0.0.1:9107", true),
            ("127.8.9.10", true),
            ("localhost", true),
            ("LocalHost.:80", true),
            ("muster.localhost:9107", true),
            ("[::1]:9107", true),
            ("[::ffff:127.0.0.1]", true),
            ("evil.example", false),
            ("evil.example:9107", false),
            ("localhost.evil.example", false),
            ("notlocalhost", false),
            ("127.0.0.1.evil.example", false),
            ("192.0.2.1", false),
            ("[2001:db8::1]:9107", false),
            ("0.0.0.0", false),
        ] {
            let bytes = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
            let request = parse(bytes.as_bytes()).unwrap().unwrap();
            assert_eq!(request.is_for_loopback, expected, "{host}");
        }
    }

    #[test]
    fn requests_that_cannot_be_served_get_a_status() {
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
    fn arbitrary_bytes_do_not_panic() {
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
