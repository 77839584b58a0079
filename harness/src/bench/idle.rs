//! The memory of clients who are connected and wait in a queue: the daemon's own, and the kernel's.
//!
//! The daemon's is its proportional set (`Pss`), before and after. The kernel reports its own for the whole machine
//! (`Slab` and `SUnreclaim` of `/proc/meminfo` would count the same twice; it is `SUnreclaim`), both ends of each
//! connection and strangers included: so beside it stands what as many clients of a bare server take.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use testkit::proc::{kernel_kib, proportional_kib};

use crate::bare::{BareServer, Games};
use crate::bench::Bench;
use crate::daemon::{Daemon, setup};
use crate::failure::{Failure, LIMIT, os};
use crate::matched::QUEUE;
use crate::player::ready;
use crate::stats::{Row, Samples, Target};
use crate::visitors;

/// As many players of a match as possible: most wait for a match whose game never starts.
const MATCH: &str = "players = 128\nwarm = 0";

/// A pause in which the kernel frees the memory of closed connections.
const REST: Duration = Duration::from_millis(500);

/// Bytes per client.
#[derive(Debug, Default)]
struct Bytes {
    own: Samples,
    kernel: Samples,
}

/// Measures, and prints.
pub(crate) fn run(bench: &Bench) -> Result<(), Failure> {
    for &count in &bench.scale.idle_clients {
        let (mut muster, mut bare) = (Bytes::default(), Bytes::default());
        for _ in 0..bench.scale.idle_rounds {
            let server = BareServer::start(Games::Never)?;
            bare.take(server.address(), server.pid(), count)?;
            drop(server);
            let daemon = Daemon::start(setup(1).mode(QUEUE, &["false"], MATCH))?;
            muster.take(daemon.address(), daemon.pid(), count)?;
        }
        for (what, muster, baseline, target) in [
            ("daemon's bytes", muster.own, bare.own, Target::AtMost(1024.0)),
            ("kernel's bytes", muster.kernel, bare.kernel, Target::Shown),
        ] {
            let what = format!("{count} clients: {what} each");
            bench.print(&Row { what, muster, against: "bare epoll", baseline, target });
        }
    }
    Ok(())
}

impl Bytes {
    fn take(&mut self, server: SocketAddr, pid: i32, count: usize) -> Result<(), Failure> {
        std::thread::sleep(REST);
        let look =
            || [proportional_kib(pid), kernel_kib()].map(|kib| kib.map_or(f64::NAN, f64::from));
        let [own, kernel] = look();
        let clients = queue_up(server, count, &ready(QUEUE))?;
        let [own_after, kernel_after] = look();
        drop(clients);
        #[expect(clippy::cast_precision_loss, reason = "far from 2^52 clients")]
        let each = |kib: f64| kib * 1024.0 / count as f64;
        self.own.push(each(own_after - own));
        self.kernel.push(each(kernel_after - kernel));
        Ok(())
    }
}

/// Connects clients, sends READY for each, and waits until all are queued.
pub(crate) fn queue_up(
    server: SocketAddr,
    count: usize,
    ready: &str,
) -> Result<Vec<TcpStream>, Failure> {
    let mut clients = Vec::with_capacity(count);
    for at in 0..count {
        let source = u32::try_from(at).unwrap_or_default();
        let mut client = visitors::connect_blocking(server, source).map_err(os("connect"))?;
        client.set_read_timeout(Some(LIMIT)).map_err(os("prepare a connection"))?;
        client.write_all(ready.as_bytes()).map_err(os("say READY"))?;
        clients.push(client);
    }
    for client in &mut clients {
        wait_for_queued(client)?;
    }
    Ok(clients)
}

fn wait_for_queued(client: &mut TcpStream) -> Result<(), Failure> {
    let (mut said, mut bytes) = (Vec::new(), [0; 512]);
    loop {
        let said_text = || String::from_utf8_lossy(&said).into_owned();
        if said_text().contains("QUEUED ") {
            return Ok(());
        }
        match client.read(&mut bytes).map_err(os("hear QUEUED"))? {
            0 => return Err(Failure::Unexpected { said: said_text(), awaited: "QUEUED" }),
            length => said.extend_from_slice(&bytes[..length]),
        }
    }
}
