//! Splitting a byte stream into lines.

use bytes::{Buf, Bytes, BytesMut};
use memchr::memchr;

/// Collects bytes of a stream and returns them line by line.
///
/// A line ends with LF; a CR right before it belongs to the line end. An empty buffer owns no memory, so that thousands
/// of silent connections cost nothing here.
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
    /// The number of bytes from the front that contain no LF, so that they are not scanned again.
    scanned: usize,
    line_max: usize,
}

/// A line is longer than its limit. The rest of the stream is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("line longer than {line_max} bytes")]
pub struct LineTooLong {
    /// The limit, in bytes without the line end.
    pub line_max: usize,
}

impl LineBuffer {
    /// A buffer for lines of at most `line_max` bytes without the line end.
    pub fn new(line_max: usize) -> Self {
        Self { bytes: BytesMut::new(), scanned: 0, line_max }
    }

    /// Adds bytes that were read from the stream.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next complete line without its line end, or `None` until more bytes arrive.
    ///
    /// # Errors
    /// [`LineTooLong`] as soon as it is certain, whether or not the line end has arrived. Every further call returns it
    /// again.
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

    /// The buffered bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The number of buffered bytes.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether no bytes are buffered.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Takes all buffered bytes: for a last line that the end of the stream truncated, or to split a line that is too
    /// long.
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
    fn lines_are_the_same_however_the_stream_is_split() {
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
    fn the_limit_counts_neither_lf_nor_crlf() {
        for end in [&b"\n"[..], b"\r\n"] {
            let mut buffer = LineBuffer::new(4);
            buffer.extend(b"1234");
            assert_eq!(buffer.next_line(), Ok(None));
            buffer.extend(end);
            assert_eq!(buffer.next_line().unwrap().as_deref(), Some(&b"1234"[..]));
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_a_permanent_error_with_or_without_its_end() {
        for bytes in [&b"12345"[..], b"12345\n", b"12345\r\n", b"1234\r5"] {
            let mut buffer = LineBuffer::new(4);
            buffer.extend(bytes);
            assert_eq!(buffer.next_line(), Err(LineTooLong { line_max: 4 }), "{bytes:?}");
            buffer.extend(b"\nPING\n");
            assert_eq!(buffer.next_line(), Err(LineTooLong { line_max: 4 }), "{bytes:?}");
        }
    }
}
