//! All clients: found by their id, counted by address, watched by the clock.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;
use std::os::fd::RawFd;

use brain::{Account, ConnectionId};
use mio::Registry;
use mio::net::TcpStream;
use protocol::Reply;
use serde::{Deserialize, Serialize};
use slab::Slab;

use crate::clock::Instant;
use crate::config::Limits;
use crate::handoff::descriptors::{InheritedFds, StateError, is_default, take};
use crate::players::account::account_of;
use crate::players::connection::{Connection, SavedConnection};
use crate::tokens;

/// The clients, in slots that are used again. An id holds the slot and its generation, so an event or an
/// action meant for the slot's last client finds nobody.
pub(crate) struct Connections {
    slots: Slab<Slot>,
    generation: u32,
    /// Those who were taken in; who was refused may linger and takes no place of its address.
    by_account: HashMap<Account, usize>,
    refused: usize,
    deadlines: BTreeSet<(Instant, ConnectionId)>,
    /// Connections with more to do than their share of a turn.
    ready: VecDeque<ConnectionId>,
    /// Connections that were told something which is not written yet.
    told: Vec<ConnectionId>,
}

struct Slot {
    generation: u32,
    deadline: Option<Instant>,
    is_ready: bool,
    is_told: bool,
    client: Connection,
}

/// All clients as they are written down.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct SavedConnections {
    generation: u32,
    clients: Vec<SavedSlot>,
}

#[derive(Debug, Serialize, Deserialize)]
struct SavedSlot {
    id: ConnectionId,
    socket: RawFd,
    #[serde(default, skip_serializing_if = "is_default")]
    is_ready: bool,
    client: SavedConnection,
}

/// What a new connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Taken in.
    Accepted(ConnectionId),
    /// Taken in only to be told that there are too many.
    Refused(ConnectionId),
    /// Taken in, and a proxy has still to say whose it is.
    Unannounced(ConnectionId),
}

impl Connections {
    pub(crate) fn new() -> Self {
        Self {
            slots: Slab::new(),
            generation: 0,
            by_account: HashMap::new(),
            refused: 0,
            deadlines: BTreeSet::new(),
            ready: VecDeque::new(),
            told: Vec::new(),
        }
    }

    /// No clients yet, after those of a daemon that crashed: no id is one of theirs.
    pub(crate) fn after(crashed: &[ConnectionId]) -> Self {
        let generation = crashed.iter().map(|id| tokens::generation(*id)).max();
        Self { generation: generation.unwrap_or_default(), ..Self::new() }
    }

    /// Takes a connection in, within the bounds. The error is the connection again, which was not taken in. One that
    /// comes from a proxy counts for no address until it is [announced](Self::announce).
    pub(crate) fn admit(
        &mut self,
        stream: TcpStream,
        address: IpAddr,
        is_proxy: bool,
        registry: &Registry,
        limits: &Limits,
        now: Instant,
    ) -> Result<Admission, TcpStream> {
        let account = account_of(address);
        let of_account = self.by_account.get(&account).copied().unwrap_or_default();
        let refused = self.slots.len() - self.refused >= limits.clients
            || !is_proxy && of_account >= limits.clients_per_address;
        if refused && self.refused >= limits.refused {
            return Err(stream);
        }
        let entry = self.slots.vacant_entry();
        self.generation = (self.generation + 1) & tokens::GENERATION_MAX;
        let id = tokens::connection_id(entry.key(), self.generation);
        let mut client =
            Connection::new(stream, address, is_proxy && !refused, refused, limits, now);
        if client.register(registry, tokens::client(id)).is_err() {
            return Err(client.into_stream());
        }
        let generation = self.generation;
        entry.insert(Slot { generation, deadline: None, is_ready: false, is_told: false, client });
        if refused {
            self.refused += 1;
            return Ok(Admission::Refused(id));
        }
        if is_proxy {
            return Ok(Admission::Unannounced(id));
        }
        *self.by_account.entry(account).or_default() += 1;
        Ok(Admission::Accepted(id))
    }

    /// A proxy has said whose connection it passes on; `None`: its own. The error is the connection, which is beyond all
    /// bounds.
    pub(crate) fn announce(
        &mut self,
        id: ConnectionId,
        source: Option<IpAddr>,
        limits: &Limits,
    ) -> Result<Admission, Option<TcpStream>> {
        let slot = self.slots.get_mut(tokens::slot(id));
        let slot = slot.filter(|slot| slot.generation == tokens::generation(id)).ok_or(None)?;
        let address = source.unwrap_or(slot.client.address());
        let of_account = self.by_account.entry(account_of(address)).or_default();
        if *of_account < limits.clients_per_address {
            *of_account += 1;
            slot.client.set_announced(address, false);
            return Ok(Admission::Accepted(id));
        }
        slot.client.set_announced(address, true);
        self.refused += 1;
        match self.refused > limits.refused {
            true => Err(self.remove(id).map(Connection::into_stream)),
            false => Ok(Admission::Refused(id)),
        }
    }

    pub(crate) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.slot_mut(id).map(|slot| &mut slot.client)
    }

    /// Puts a line into a client's output. `false`: the client is there but has no room for it.
    pub(crate) fn say(&mut self, id: ConnectionId, reply: &Reply, limits: &Limits) -> bool {
        let Some(slot) = self.slot_mut(id) else { return true };
        let had_room = slot.client.say(reply, limits);
        if !std::mem::replace(&mut slot.is_told, true) {
            self.told.push(id);
        }
        had_room
    }

    /// Takes the list of clients whose output is to be written.
    pub(crate) fn take_told(&mut self) -> Vec<ConnectionId> {
        let told = std::mem::take(&mut self.told);
        for id in &told {
            if let Some(slot) = self.slot_mut(*id) {
                slot.is_told = false;
            }
        }
        told
    }

    /// Remembers a client whose turn was over before its work.
    pub(crate) fn set_ready(&mut self, id: ConnectionId) {
        if let Some(slot) = self.slot_mut(id)
            && !std::mem::replace(&mut slot.is_ready, true)
        {
            self.ready.push_back(id);
        }
    }

    /// Takes the clients remembered by [`set_ready`](Self::set_ready), each once.
    pub(crate) fn take_ready(&mut self) -> VecDeque<ConnectionId> {
        let ready = std::mem::take(&mut self.ready);
        for id in &ready {
            if let Some(slot) = self.slot_mut(*id) {
                slot.is_ready = false;
            }
        }
        ready
    }

    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Sets when a client is to be looked at.
    pub(crate) fn set_deadline(&mut self, id: ConnectionId, at: Option<Instant>) {
        let Some(slot) = self.slot_mut(id) else { return };
        let before = std::mem::replace(&mut slot.deadline, at);
        if before == at {
            return;
        }
        if let Some(before) = before {
            self.deadlines.remove(&(before, id));
        }
        if let Some(at) = at {
            self.deadlines.insert((at, id));
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|&(at, _)| at)
    }

    /// Takes a client whose deadline has come.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<ConnectionId> {
        let &(at, id) = self.deadlines.first()?;
        if at > now {
            return None;
        }
        self.set_deadline(id, None);
        Some(id)
    }

    /// Closes a connection. `None`: it was closed already.
    pub(crate) fn remove(&mut self, id: ConnectionId) -> Option<Connection> {
        self.set_deadline(id, None);
        self.slot_mut(id)?;
        let client = self.slots.remove(tokens::slot(id)).client;
        if client.is_refused() {
            self.refused -= 1;
        } else if client.is_unannounced() {
            // It counts for nobody.
        } else if let Some(count) = self.by_account.get_mut(&client.account()) {
            *count -= 1;
            if *count == 0 {
                self.by_account.remove(&client.account());
            }
        }
        Some(client)
    }

    /// How many connections are open.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// What is to be known of them, for the program that goes on with their sockets.
    pub(crate) fn save(&self, kept: &mut InheritedFds) -> SavedConnections {
        let save = |(slot, held): (usize, &Slot)| SavedSlot {
            id: tokens::connection_id(slot, held.generation),
            socket: kept.keep(held.client.stream()),
            is_ready: held.is_ready,
            client: held.client.save(),
        };
        SavedConnections {
            generation: self.generation,
            clients: self.slots.iter().map(save).collect(),
        }
    }

    /// Goes on with all clients under their ids. They have no deadlines yet; who has something to be written is among
    /// those who were [told](Self::take_told).
    ///
    /// # Errors
    /// When a socket is not there, or cannot be watched.
    pub(crate) fn restore(
        saved: SavedConnections,
        registry: &Registry,
    ) -> Result<Self, StateError> {
        let mut all = Self { generation: saved.generation, ..Self::new() };
        let mut slots = Vec::with_capacity(saved.clients.len());
        for SavedSlot { id, socket, is_ready, client } in saved.clients {
            let socket = take(socket, "a client's socket")?;
            let mut client = Connection::restore(client, TcpStream::from_std(socket.into()));
            client.register(registry, tokens::client(id))?;
            let is_told = client.has_output();
            if is_ready {
                all.ready.push_back(id);
            }
            if is_told {
                all.told.push(id);
            }
            if client.is_refused() {
                all.refused += 1;
            } else if !client.is_unannounced() {
                *all.by_account.entry(client.account()).or_default() += 1;
            }
            let generation = tokens::generation(id);
            let slot = Slot { generation, deadline: None, is_ready, is_told, client };
            slots.push((tokens::slot(id), slot));
        }
        all.slots = slots.into_iter().collect();
        Ok(all)
    }

    pub(crate) fn ids(&self) -> Vec<ConnectionId> {
        self.slots.iter().map(|(slot, held)| tokens::connection_id(slot, held.generation)).collect()
    }

    fn slot_mut(&mut self, id: ConnectionId) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(tokens::slot(id))?;
        (slot.generation == tokens::generation(id)).then_some(slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_go_on_after_those_of_a_daemon_that_crashed() {
        let crashed = [(7, 3), (0, 9), (2, 1)].map(|(slot, it)| tokens::connection_id(slot, it));
        assert_eq!(Connections::after(&crashed).generation, 9);
        assert_eq!(Connections::after(&[]).generation, 0);
    }
}
