//! Cutting a byte stream into lines.

use bytes::{Buf, Bytes, BytesMut};
use memchr::memchr;

/// Collects bytes from a stream and gives them back a line at a time.
///
/// A line ends with LF; a CR right before it belongs to the line end. An empty buffer owns no memory, so
/// that thousands of silent connections cost nothing here.
///
/// ```
/// let mut lines = protocol::LineBuffer::new(512);
/// lines.extend(b"PING\r\nREA");
/// assert_eq!(lines.next_line().unwrap().as_deref(), Some(&b"PING"[..]));
/// assert_eq!(lines.next_line().unwrap(), None);
/// assert_eq!(lines.len(), 3);
/// ```
#[derive(Debug)]
pub struct LineBuffer {
    bytes: BytesMut,
    /// How many bytes from the front are known to hold no LF; spares a second look at a slow line.
    scanned: usize,
    line_max: usize,
}

/// A line is longer than its bound; what follows in the stream cannot be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("line longer than {line_max} bytes")]
pub struct LineTooLong {
    /// The bound, in bytes without the line end.
    pub line_max: usize,
}

impl LineBuffer {
    /// A buffer for lines of at most `line_max` bytes, the line end not counted.
    pub fn new(line_max: usize) -> Self {
        Self { bytes: BytesMut::new(), scanned: 0, line_max }
    }

    /// Adds bytes that were read from the stream.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole line without its end, or `None` until more bytes arrive.
    ///
    /// # Errors
    /// [`LineTooLong`] as soon as it is certain, whether or not the line end has arrived. The error stays:
    /// every further call gives it again.
    pub fn next_line(&mut self) -> Result<Option<Bytes>, LineTooLong> {
        let too_long = LineTooLong { line_max: self.line_max };
        let Some(offset) = memchr(b'\n', &self.bytes[self.scanned..]) else {
            self.scanned = self.bytes.len();
            let pending_cr = usize::from(self.bytes.last() == Some(&b'\r'));
            if self.bytes.len() - pending_cr > self.line_max {
                return Err(too_long);
            }
            if self.bytes.is_empty() {
                self.release();
            }
            return Ok(None);
        };
        let end = self.scanned + offset;
        let cr = usize::from(end > 0 && self.bytes[end - 1] == b'\r');
        if end - cr > self.line_max {
            return Err(too_long);
        }
        let mut line = self.bytes.split_to(end + 1);
        self.scanned = 0;
        line.truncate(end - cr);
        Ok(Some(line.freeze()))
    }

    /// What waits here, to be put into another buffer.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many bytes wait here.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing waits here.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Takes what waits here, whole line or not: for a last line that the end of the stream cut off, or to
    /// break a line that is too long.
    pub fn take_rest(&mut self) -> Bytes {
        let rest = self.bytes.copy_to_bytes(self.bytes.len());
        self.release();
        rest
    }

    fn release(&mut self) {
        self.bytes = BytesMut::new();
        self.scanned = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(buffer: &mut LineBuffer) -> Vec<Vec<u8>> {
        let mut lines = Vec::new();
        while let Some(line) = buffer.next_line().unwrap() {
            lines.push(line.to_vec());
        }
        lines
    }

    #[test]
    fn lines_are_the_same_however_the_stream_is_cut() {
        let stream = b"READY name=ada\nPING\r\n\nLEAVE\r\nrest";
        for cut in 1..stream.len() {
            let mut buffer = LineBuffer::new(512);
            let mut lines = Vec::new();
            for part in stream.chunks(cut) {
                buffer.extend(part);
                lines.extend(drain(&mut buffer));
            }
            assert_eq!(lines, [&b"READY name=ada"[..], b"PING", b"", b"LEAVE"], "cut every {cut}");
            assert_eq!(buffer.take_rest(), &b"rest"[..]);
            assert!(buffer.is_empty());
        }
    }

    #[test]
    fn the_bound_counts_neither_lf_nor_crlf() {
        for end in [&b"\n"[..], b"\r\n"] {
            let mut buffer = LineBuffer::new(4);
            buffer.extend(b"1234");
            assert_eq!(buffer.next_line(), Ok(None));
            buffer.extend(end);
            assert_eq!(buffer.next_line().unwrap().as_deref(), Some(&b"1234"[..]));
        }
    }

    #[test]
    fn too_long_is_told_with_and_without_a_line_end_and_stays() {
        for bytes in [&b"12345"[..], b"12345\n", b"12345\r\n", b"1234\r5"] {
            let mut buffer = LineBuffer::new(4);
            buffer.extend(bytes);
            assert_eq!(buffer.next_line(), Err(LineTooLong { line_max: 4 }), "{bytes:?}");
            buffer.extend(b"\nPING\n");
            assert_eq!(buffer.next_line(), Err(LineTooLong { line_max: 4 }), "{bytes:?}");
        }
    }
}
