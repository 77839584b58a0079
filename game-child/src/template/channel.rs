//! A template's channel: packets to and from Muster, with attached descriptors.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};

use process::take_inherited;
use protocol::{FromTemplate, TEMPLATE_PACKET_MAX, ToTemplate};
use rustix::cmsg_space;
use rustix::io::Errno;
use rustix::net::sockopt::{socket_domain, socket_type};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketType,
    recvmsg, send,
};

use crate::RunError;
use crate::contract::{check_protocol, control_number};
use crate::report::warn;

/// The descriptors of a request: socket, control channel, log.
const DESCRIPTORS: usize = 3;

const CHANNEL: &str = "the template channel, a Unix seqpacket socket";

/// The template's end of the channel.
pub(super) struct Channel {
    socket: OwnedFd,
    packet: Vec<u8>,
}

/// A request for a game.
pub(super) struct Request {
    pub(super) game: String,
    pub(super) port: u16,
    pub(super) directory: String,
    /// The attached descriptors, in their order.
    pub(super) descriptors: Vec<OwnedFd>,
}

impl Channel {
    /// Takes the inherited channel.
    pub(super) fn take() -> Result<Self, RunError> {
        let number = control_number()?;
        check_protocol()?;
        let taken = take_inherited(number);
        let socket = taken.map_err(|error| match Errno::from_io_error(&error) {
            Some(Errno::BADF) => RunError::Missing { number, what: CHANNEL },
            _ => RunError::Take { number, what: CHANNEL, source: error },
        })?;
        let is_unix = socket_domain(&socket) == Ok(AddressFamily::UNIX);
        if !is_unix || socket_type(&socket) != Ok(SocketType::SEQPACKET) {
            return Err(RunError::Foreign { number, what: CHANNEL });
        }
        Ok(Self { socket, packet: vec![0; TEMPLATE_PACKET_MAX] })
    }

    /// The number of the channel, which is that of the control channel in a fork.
    pub(super) fn number(&self) -> i32 {
        self.socket.as_raw_fd()
    }

    /// Waits for the next request. `None`: Muster has closed the channel.
    pub(super) fn receive_request(&mut self) -> Result<Option<Request>, RunError> {
        loop {
            let (length, descriptors) = match self.receive() {
                Ok((0, _)) | Err(Errno::CONNRESET) => return Ok(None),
                Ok(received) => received,
                Err(Errno::INTR) => continue,
                Err(errno) => {
                    return Err(RunError::Os { what: "receive a request", source: errno.into() });
                }
            };
            match ToTemplate::parse(&self.packet[..length]) {
                Ok(ToTemplate::Fork { game, port, directory }) => {
                    return Ok(Some(Request { game, port, directory, descriptors }));
                }
                Ok(ToTemplate::Unknown) => {}
                Err(error) => {
                    warn(format_args!("ignoring an invalid packet: {error}"));
                }
            }
        }
    }

    /// The length of the next packet, and its descriptors. One that is too long is truncated, and then invalid.
    fn receive(&mut self) -> Result<(usize, Vec<OwnedFd>), Errno> {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(DESCRIPTORS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut self.packet)];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let received = recvmsg(&self.socket, &mut parts, &mut ancillary, flags)?;
        let mut descriptors = Vec::new();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(sent) = message {
                descriptors.extend(sent);
            }
        }
        Ok((received.bytes, descriptors))
    }

    /// Sends a message. If Muster is gone, the next receive reports it.
    pub(super) fn send(&self, message: &FromTemplate) -> Result<(), RunError> {
        let packet = message.to_packet();
        loop {
            match send(&self.socket, packet.as_bytes(), SendFlags::NOSIGNAL) {
                Ok(_) | Err(Errno::PIPE | Errno::CONNRESET) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => {
                    let source = io::Error::from(errno);
                    return Err(RunError::Os { what: "answer a request", source });
                }
            }
        }
    }
}
