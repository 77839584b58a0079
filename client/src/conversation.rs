//! The player's side of the lines over TCP, without the socket.

use protocol::{LineBuffer, Reply, Request, SERVER_LINE_MAX};

use crate::ClientError;

/// A conversation with Muster: bytes in, replies out; requests in, bytes out.
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
    /// Muster's side has ended.
    ended: bool,
}

impl Conversation {
    /// A conversation that has not begun. The address is for error texts.
    pub fn new(address: impl Into<String>) -> Self {
        let lines = LineBuffer::new(SERVER_LINE_MAX);
        Self { address: address.into(), lines, unsent: Vec::new(), ended: false }
    }

    /// Bytes came from Muster.
    pub fn handle_bytes(&mut self, bytes: &[u8]) {
        self.lines.extend(bytes);
    }

    /// Muster will send no more.
    pub fn handle_end(&mut self) {
        self.ended = true;
    }

    /// The next reply; `None` until more bytes come.
    ///
    /// # Errors
    /// [`ClientError::BadLine`] for a line that makes no sense; the ones after it may.
    /// [`ClientError::LongLine`] for good. [`ClientError::HungUp`] when no more will come.
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

    /// Says something, as soon as the socket takes it.
    pub fn say(&mut self, request: &Request) {
        self.say_raw(format!("{request}\n").as_bytes());
    }

    /// Says any bytes, for who wants to say something wrong.
    pub fn say_raw(&mut self, bytes: &[u8]) {
        self.unsent.extend_from_slice(bytes);
    }

    /// The bytes that wait to be sent.
    pub fn unsent(&self) -> &[u8] {
        &self.unsent
    }

    /// So many of the bytes that waited are sent.
    pub fn handle_sent(&mut self, count: usize) {
        self.unsent.drain(..count.min(self.unsent.len()));
    }

    /// Whom the conversation is with.
    pub fn address(&self) -> &str {
        &self.address
    }
}

/// How much of a line that makes no sense is shown, in bytes.
const LINE_SHOWN_MAX: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_come_out_however_the_stream_is_cut_and_then_the_end() {
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
    fn a_line_that_makes_no_sense_is_shown_and_the_next_one_is_read() {
        let mut conversation = Conversation::new("here");
        conversation.handle_bytes(b"QUEUED \x1b[31m\nLEFT\n");
        let error = conversation.poll_reply().unwrap_err().to_string();
        assert!(error.contains("QUEUED \\x1b[31m"), "{error}");
        assert_eq!(conversation.poll_reply().unwrap(), Some(Reply::Left));
        conversation.handle_bytes(&[b'x'; SERVER_LINE_MAX + 1]);
        assert!(matches!(conversation.poll_reply(), Err(ClientError::LongLine { .. })));
    }
}
