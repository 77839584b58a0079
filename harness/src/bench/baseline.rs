//! The benchmark's side of the baselines: processes made with as little as the kernel needs.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::failure::{Failure, os};
use crate::machine::pid_of;
use crate::names::{self, ANSWER, FORK_SERVER, WAITING};
use crate::player::udp;

/// This program in a role, with its input and output.
pub(crate) fn role(
    arguments: &[&str],
    stdin: impl Into<OwnedFd>,
    stdout: Stdio,
) -> Result<Child, Failure> {
    names::start(arguments, stdin, stdout).map_err(os("spawn a child"))
}

/// A fresh socket for a child, and where it is.
pub(crate) fn game_socket() -> Result<(UdpSocket, SocketAddr), Failure> {
    let socket = udp()?;
    let address = socket.local_addr().map_err(os("read the address of a socket"))?;
    Ok((socket, address))
}

/// Sends a datagram to a child.
pub(crate) fn ask(probe: &UdpSocket, address: SocketAddr) -> Result<(), Failure> {
    probe.send_to(b"x", address).map_err(os("send a datagram")).map(drop)
}

/// Waits for an answer from any child.
pub(crate) fn receive(probe: &UdpSocket) -> Result<(), Failure> {
    let mut byte = [0];
    probe.recv(&mut byte).map_err(os("receive a child's answer")).map(drop)
}

/// Spawns a child with its socket.
pub(crate) fn spawn() -> Result<(Child, SocketAddr), Failure> {
    let (socket, address) = game_socket()?;
    Ok((role(&[ANSWER], socket, Stdio::inherit())?, address))
}

/// From the wish for a child to its first answer, with `posix_spawn`; the child is reaped before this returns.
pub(crate) fn spawn_and_receive(probe: &UdpSocket) -> Result<Duration, Failure> {
    let began = Instant::now();
    let (mut child, address) = spawn()?;
    ask(probe, address)?;
    receive(probe)?;
    let took = began.elapsed();
    child.wait().map_err(os("reap a child"))?;
    Ok(took)
}

/// A small process that forks when it is asked to, and one that reaps what it forks.
#[derive(Debug)]
pub(crate) struct ForkServer {
    requests: Option<UnixStream>,
    child: Child,
}

impl ForkServer {
    pub(crate) fn start() -> Result<Self, Failure> {
        let (requests, its_requests) = UnixStream::pair().map_err(os("make a socket pair"))?;
        let child = role(&[FORK_SERVER], its_requests, Stdio::inherit())?;
        Ok(Self { requests: Some(requests), child })
    }

    /// The pid of the parent of its children.
    pub(crate) fn pid(&self) -> i32 {
        pid_of(&self.child)
    }

    /// Asks for a child with a socket of its own.
    pub(crate) fn fork(&self) -> Result<SocketAddr, Failure> {
        let (socket, address) = game_socket()?;
        if let Some(requests) = &self.requests {
            names::send_socket(requests, b"x", socket.as_fd())
                .map_err(os("ask the fork server"))?;
        }
        Ok(address)
    }

    /// From the wish for a child to its first answer.
    pub(crate) fn fork_and_receive(&self, probe: &UdpSocket) -> Result<Duration, Failure> {
        let began = Instant::now();
        let address = self.fork()?;
        ask(probe, address)?;
        receive(probe)?;
        Ok(began.elapsed())
    }
}

impl Drop for ForkServer {
    /// It ends when the last of its children is reaped.
    fn drop(&mut self) {
        self.requests = None;
        let _ = self.child.wait();
    }
}

/// A process that waits for requests.
#[derive(Debug)]
pub(crate) struct WaitingProcess {
    requests: Option<UnixStream>,
    address: SocketAddr,
    child: Child,
}

impl WaitingProcess {
    pub(crate) fn start() -> Result<Self, Failure> {
        let (requests, its_requests) = UnixStream::pair().map_err(os("make a socket pair"))?;
        let (socket, address) = game_socket()?;
        let child = role(&[WAITING], its_requests, Stdio::from(OwnedFd::from(socket)))?;
        Ok(Self { requests: Some(requests), address, child })
    }

    /// From a request to the process over its answer to the answer over UDP.
    pub(crate) fn request_and_receive(&mut self, probe: &UdpSocket) -> Result<Duration, Failure> {
        let began = Instant::now();
        let mut byte = [0];
        if let Some(requests) = &mut self.requests {
            requests.write_all(&byte).map_err(os("write to the waiting process"))?;
            requests.read_exact(&mut byte).map_err(os("read from the waiting process"))?;
        }
        ask(probe, self.address)?;
        receive(probe)?;
        Ok(began.elapsed())
    }
}

impl Drop for WaitingProcess {
    fn drop(&mut self) {
        self.requests = None;
        let _ = self.child.wait();
    }
}
