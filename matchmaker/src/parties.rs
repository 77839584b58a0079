//! Parties: players who gather under a code, to be queued on one ticket.
//!
//! Membership belongs to connections: a player whose connection is lost is no longer a member, but stays on the ticket
//! if queued. A party outlives its turns in a queue, and ends when its last member leaves.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::{Notice, Refusal};
use serde::{Deserialize, Serialize};

use crate::joining::{Keys, Profile};
use crate::limits::PARTY_MAX;
use crate::matchmaker::{Matchmaker, Phase};
use protocol::{Account, ConnectionId};

/// When a player whose account has too many parties may retry.
const PARTY_REST: Duration = Duration::from_secs(10);

/// All parties.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Parties {
    by_code: BTreeMap<String, Vec<Member>>,
    by_connection: BTreeMap<ConnectionId, String>,
}

/// A member of a party.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Member {
    connection: ConnectionId,
    profile: Profile,
}

impl Member {
    fn account(&self) -> Account {
        self.profile.account
    }
}

impl Parties {
    /// The code of the party that a connection is in.
    pub(crate) fn code_of(&self, connection: ConnectionId) -> Option<&str> {
        self.by_connection.get(&connection).map(String::as_str)
    }

    /// The connections of all members of parties.
    pub(crate) fn connections(&self) -> impl Iterator<Item = ConnectionId> {
        self.by_connection.keys().copied()
    }

    /// The accounts that parties are charged to: that of the first member of each.
    pub(crate) fn founders(&self) -> impl Iterator<Item = Account> {
        self.by_code.values().filter_map(|members| members.first()).map(Member::account)
    }

    /// The account that a party is charged to.
    fn founder(&self, code: &str) -> Option<Account> {
        self.by_code.get(code).and_then(|members| members.first()).map(Member::account)
    }

    fn members_of(&self, connection: ConnectionId) -> &[Member] {
        self.code_of(connection).and_then(|code| self.by_code.get(code)).map_or(&[], Vec::as_slice)
    }

    fn add(&mut self, code: &str, member: Member) {
        self.by_connection.insert(member.connection, code.to_owned());
        self.by_code.entry(code.to_owned()).or_default().push(member);
    }

    fn remove(&mut self, connection: ConnectionId) -> Option<String> {
        let code = self.by_connection.remove(&connection)?;
        if let Some(members) = self.by_code.get_mut(&code) {
            members.retain(|member| member.connection != connection);
            if members.is_empty() {
                self.by_code.remove(&code);
            }
        }
        Some(code)
    }

    /// Whether the index of connections agrees with the parties, and no party is empty or too large.
    pub(crate) fn is_whole(&self) -> bool {
        let of_parties = self.by_code.iter().flat_map(|(code, members)| {
            members.iter().map(move |member| (member.connection, code))
        });
        let by_parties: BTreeMap<ConnectionId, &String> = of_parties.collect();
        let sizes = self.by_code.values().map(Vec::len);
        sizes.clone().all(|size| (1..=PARTY_MAX).contains(&size))
            && sizes.sum::<usize>() == self.by_connection.len()
            && by_parties.into_iter().eq(self.by_connection.iter().map(|(id, code)| (*id, code)))
    }
}

impl Matchmaker {
    /// The number of resume keys and tokens for queueing the party of this connection; zero if there is none.
    pub fn party_size(&self, connection: ConnectionId) -> usize {
        self.parties.members_of(connection).len()
    }

    pub(crate) fn handle_create_party(
        &mut self,
        connection: ConnectionId,
        code: &str,
        profile: Profile,
    ) {
        if !self.may_gather(connection) {
            return;
        }
        if self.parties.by_code.contains_key(code) {
            return self.refuse(connection, Refusal::CodeTaken);
        }
        let account = profile.account;
        if !self.config.modes.iter().any(|mode| !mode.is_closed && mode.party_max > 1) {
            return self.refuse(connection, Refusal::NoPartyModes);
        }
        if self.charges.parties(account) >= self.config.parties_per_account {
            return self.refuse(connection, Refusal::TooManyParties { retry_after: PARTY_REST });
        }
        self.charges.add_party(account);
        self.parties.add(code, Member { connection, profile });
        self.tell_party(code);
    }

    pub(crate) fn handle_join_party(
        &mut self,
        connection: ConnectionId,
        code: &str,
        profile: Profile,
    ) {
        if !self.may_gather(connection) {
            return;
        }
        let account = profile.account;
        let rest = self.conducts.guess_rest(account, self.now);
        if account.is_known() && !rest.is_zero() {
            return self.refuse(connection, Refusal::TooManyGuesses { retry_after: rest });
        }
        let size = self.parties.by_code.get(code).map_or(0, Vec::len);
        if size == 0 {
            if account.is_known() {
                self.conducts.note_guess(account, self.now);
            }
            return self.refuse(connection, Refusal::UnknownParty);
        }
        if size == PARTY_MAX {
            return self.refuse(connection, Refusal::PartyFull);
        }
        self.parties.add(code, Member { connection, profile });
        self.tell_party(code);
    }

    /// Whether a connection may join a party. If not, it is refused.
    fn may_gather(&mut self, connection: ConnectionId) -> bool {
        let refusal = if self.connections.contains_key(&connection) {
            Refusal::AlreadyQueued
        } else if self.phase != Phase::Serving {
            Refusal::Draining
        } else if self.parties.code_of(connection).is_some() {
            Refusal::AlreadyInParty
        } else {
            return true;
        };
        self.refuse(connection, refusal);
        false
    }

    pub(crate) fn handle_leave_party(&mut self, connection: ConnectionId) {
        if self.connections.contains_key(&connection) {
            return self.refuse(connection, Refusal::AlreadyQueued);
        }
        if self.parties.code_of(connection).is_none() {
            return self.refuse(connection, Refusal::NoPartyToLeave);
        }
        self.send(connection, Notice::Left);
        self.leave_party(connection);
    }

    /// Removes a connection from its party, if it is in one. The other members are notified.
    pub(crate) fn leave_party(&mut self, connection: ConnectionId) {
        let founder = self.parties.code_of(connection).and_then(|code| self.parties.founder(code));
        if let Some(code) = self.parties.remove(connection) {
            // The account of the new first member is charged.
            founder.into_iter().for_each(|account| self.charges.remove_party(account));
            let founder = self.parties.founder(&code);
            founder.into_iter().for_each(|account| self.charges.add_party(account));
            self.tell_party(&code);
        }
    }

    fn tell_party(&mut self, code: &str) {
        let members = self.parties.by_code.get(code).map_or(&[][..], Vec::as_slice);
        let (size, connections) = (members.len(), members.iter().map(|member| member.connection));
        for connection in connections.collect::<Vec<_>>() {
            self.send(connection, Notice::Party { code: code.to_owned(), size });
        }
    }

    /// Queues a whole party, on behalf of its first member, with a resume key and a token for each member.
    pub(crate) fn handle_ready_party(
        &mut self,
        connection: ConnectionId,
        queue: Option<&str>,
        keys: Vec<Keys>,
    ) {
        let members = self.parties.members_of(connection);
        let refusal = match members.first() {
            None => Some(Refusal::NoPartyToQueue),
            Some(first) if first.connection != connection => Some(Refusal::NotPartyLeader),
            Some(_) if members.len() != keys.len() => Some(Refusal::PartyChanged),
            Some(_) => None,
        };
        let members = members.to_vec();
        if let Some(refusal) = refusal {
            return self.refuse(connection, refusal);
        }
        let is_queued = |member: &Member| self.connections.contains_key(&member.connection);
        if members.iter().any(is_queued) {
            return self.refuse(connection, Refusal::MemberQueued);
        }
        let accounts: Vec<Account> = members.iter().map(Member::account).collect();
        let Some(mode) = self.find_open_mode(connection, queue, &accounts) else { return };
        let who = members.into_iter().zip(keys);
        let who = who.map(|(member, keys)| (member.connection, member.profile, keys));
        self.join(mode, who.collect());
    }
}
