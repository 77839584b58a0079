//! The client's side of the lines over TCP, without a socket.

use protocol::{LineBuffer, Reply, Request, SERVER_LINE_MAX};

use crate::ClientError;
use crate::limits::LINE_SHOWN_MAX;

/// The protocol state of a connection to Muster: bytes in, replies out; requests in, bytes out.
///
/// ```
/// use client::Conversation;
/// use protocol::{Reply, Request};
///
/// let mut conversation = Conversation::new("127.0.0.1:7000");
/// conversation.handle_bytes(b"MUSTER 1 line_max=512 queues=duel\n");
/// assert!(matches!(conversation.poll_reply(), Ok(Some(Reply::Muster { .. }))));
/// conversation.say(&Request::Leave);
/// assert_eq!(conversation.unsent(), b"LEAVE\n");
/// conversation.handle_sent(6);
/// ```
#[derive(Debug)]
pub struct Conversation {
    address: String,
    lines: LineBuffer,
    unsent: Vec<u8>,
    /// Whether Muster has closed its side.
    ended: bool,
}

impl Conversation {
    /// The state of a new connection. The address is for error texts.
    pub fn new(address: impl Into<String>) -> Self {
        let lines = LineBuffer::new(SERVER_LINE_MAX);
        Self { address: address.into(), lines, unsent: Vec::new(), ended: false }
    }

    /// Handles bytes from Muster.
    pub fn handle_bytes(&mut self, bytes: &[u8]) {
        self.lines.extend(bytes);
    }

    /// Handles the end of the stream.
    pub fn handle_end(&mut self) {
        self.ended = true;
    }

    /// The next reply; `None` until more bytes arrive.
    ///
    /// # Errors
    /// [`ClientError::BadLine`] for a line that cannot be parsed; later lines can be valid. [`ClientError::LongLine`],
    /// permanently. [`ClientError::HungUp`] after the end of the stream.
    pub fn poll_reply(&mut self) -> Result<Option<Reply>, ClientError> {
        let line = match self.lines.next_line() {
            Ok(Some(line)) => line,
            Ok(None) if self.ended => {
                return Err(ClientError::HungUp { address: self.address.clone() });
            }
            Ok(None) => return Ok(None),
            Err(_) => return Err(ClientError::LongLine { address: self.address.clone() }),
        };
        Reply::parse(&line).map(Some).map_err(|source| ClientError::BadLine {
            address: self.address.clone(),
            line: line[..line.len().min(LINE_SHOWN_MAX)].escape_ascii().to_string(),
            source,
        })
    }

    /// Queues a request to be sent.
    pub fn say(&mut self, request: &Request) {
        self.say_raw(format!("{request}\n").as_bytes());
    }

    /// Queues arbitrary bytes to be sent, such as invalid requests.
    pub fn say_raw(&mut self, bytes: &[u8]) {
        self.unsent.extend_from_slice(bytes);
    }

    /// The bytes that are to be sent.
    pub fn unsent(&self) -> &[u8] {
        &self.unsent
    }

    /// Removes the first `count` bytes of [`unsent`](Self::unsent), which were sent.
    pub fn handle_sent(&mut self, count: usize) {
        self.unsent.drain(..count.min(self.unsent.len()));
    }

    /// The address of Muster.
    pub fn address(&self) -> &str {
        &self.address
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_the_same_however_the_stream_is_split() {
        let stream = b"MUSTER 1 line_max=512 queues=duel\r\nLEFT\nBYE reason=quit\n";
        for cut in 1..stream.len() {
            let mut conversation = Conversation::new("here");
            let mut replies = Vec::new();
            for part in stream.chunks(cut) {
                conversation.handle_bytes(part);
                while let Some(reply) = conversation.poll_reply().unwrap() {
                    replies.push(reply);
                }
            }
            assert_eq!(replies.len(), 3, "cut every {cut}");
            conversation.handle_end();
            assert!(matches!(conversation.poll_reply(), Err(ClientError::HungUp { .. })));
        }
    }

    #[test]
    fn a_malformed_line_is_shown_and_the_next_one_is_read() {
        let mut conversation = Conversation::new("here");
        conversation.handle_bytes(b"QUEUED \x1b[31m\nLEFT\n");
        let error = conversation.poll_reply().unwrap_err().to_string();
        assert!(error.contains("QUEUED \\x1b[31m"), "{error}");
        assert_eq!(conversation.poll_reply().unwrap(), Some(Reply::Left));
        conversation.handle_bytes(&[b'x'; SERVER_LINE_MAX + 1]);
        assert!(matches!(conversation.poll_reply(), Err(ClientError::LongLine { .. })));
    }
}
