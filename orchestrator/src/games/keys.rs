//! What the daemon does for `transport=netcode`: a key for each match, and with it a connect token for each player.
//!
//! The key is drawn for one match, told to its game alone and forgotten with it, so that a game that is broken into
//! can let nobody into another one. Tokens are made when their players are told of the game, which then waits for
//! them already. The standard counts a token's life in wall-clock time; see [`TOKEN_SPARE`] for what comes of that.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use matchmaker::{GameId, MatchId};
use netcode::ConnectToken;
use protocol::Secret;
use protocol::netcode::{Key, Netcode, PROTOCOL_ID, client_id, in_token, token_to_text, user_data};
use serde::{Deserialize, Serialize};

/// How much longer than `hello_timeout` a token opens the door of a game: time for the handshake.
const HELLO_SPARE: Duration = Duration::from_secs(5);

/// How much longer than that a token lives by the wall clock. Clocks get stepped, and no deadline of Muster's moves
/// with them: a game counts the seconds on a clock of its own, and its key is gone when it is.
const TOKEN_SPARE: Duration = Duration::from_secs(2 * 3600);

/// After how many seconds of silence a connection is given up by either side.
const SILENCE_SECONDS: i32 = 15;

/// The doors of the living games that speak netcode.
pub(crate) struct Doors {
    public: Vec<IpAddr>,
    doors: BTreeMap<GameId, Door>,
}

/// The doors as they are written down.
pub(crate) type Saved = BTreeMap<GameId, Door>;

/// One game's door.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Door {
    address: SocketAddr,
    /// The game's other addresses, where its host is a name that has several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    others: Vec<SocketAddr>,
    /// Drawn when the game gets its players.
    key: Option<Key>,
    /// By slot. A player who is told a second time is told the same token: of two for one place, a game that let
    /// a player half-way in with one would not know the other.
    tokens: BTreeMap<usize, String>,
}

/// Why there is no key, or no connect token.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DoorError {
    #[error("game {0} has no key")]
    NoKey(GameId),
    #[error("cannot draw random bytes: {0}")]
    Draw(getrandom::Error),
    #[error("cannot make a connect token: {0}")]
    Make(#[from] netcode::Error),
    #[error("cannot write a connect token: {0}")]
    Write(#[from] io::Error),
}

impl Doors {
    /// No doors yet. Games are reached at the public addresses, of which there are none while they are not known.
    pub(crate) fn new(public: Vec<IpAddr>) -> Self {
        Self { public, doors: BTreeMap::new() }
    }

    /// Doors that open from here on are at these addresses.
    pub(crate) fn set_public(&mut self, public: Vec<IpAddr>) {
        self.public = public;
    }

    /// What is to be known of them.
    pub(crate) fn save(&self) -> Saved {
        self.doors.clone()
    }

    /// Goes on with the doors of games that live; those that open from here on are at other addresses, perhaps.
    pub(crate) fn restore(saved: Saved, public: Vec<IpAddr>) -> Self {
        Self { public, doors: saved }
    }

    /// A game's door, if it has one.
    pub(crate) fn get(&self, game: GameId) -> Option<&Door> {
        self.doors.get(&game)
    }

    /// A game is being launched on a port. Whether there is an address at which players can reach it.
    pub(crate) fn build(&mut self, game: GameId, port: u16) -> bool {
        let mut addresses = self.public.iter().map(|public| SocketAddr::new(*public, port));
        let Some(address) = addresses.next() else { return false };
        let others = addresses.collect();
        // A game that never came to be is not heard of again; its port is.
        self.doors.retain(|_, door| door.address.port() != port);
        self.doors.insert(game, Door { address, others, key: None, tokens: BTreeMap::new() });
        true
    }

    /// Draws the key of a game's match; what the game is to be told.
    ///
    /// # Errors
    /// When the system has no random bytes, or the game is not one that speaks netcode.
    pub(crate) fn open(
        &mut self,
        game: GameId,
        hello_timeout: Duration,
    ) -> Result<Netcode, DoorError> {
        let door = self.doors.get_mut(&game).ok_or(DoorError::NoKey(game))?;
        let mut bytes = [0; Key::BYTES];
        getrandom::fill(&mut bytes).map_err(DoorError::Draw)?;
        let key = Key::from_bytes(bytes);
        door.key = Some(key);
        door.tokens.clear();
        let expires = hello_timeout.saturating_add(HELLO_SPARE);
        Ok(Netcode {
            protocol_id: PROTOCOL_ID,
            key,
            address: door.address,
            expires_ms: u64::try_from(expires.as_millis()).unwrap_or(u64::MAX),
        })
    }

    /// A player's connect token, in base64: made when it is first asked for.
    ///
    /// # Errors
    /// When the game has no key, or the wall clock shows a time before 1970.
    pub(crate) fn token(
        &mut self,
        game: GameId,
        match_id: MatchId,
        slot: usize,
        seat: &Secret,
        hello_timeout: Duration,
    ) -> Result<String, DoorError> {
        let door = self.doors.get_mut(&game).ok_or(DoorError::NoKey(game))?;
        let key = door.key.ok_or(DoorError::NoKey(game))?;
        if let Some(token) = door.tokens.get(&slot) {
            return Ok(token.clone());
        }
        let lives = hello_timeout.saturating_add(HELLO_SPARE + TOKEN_SPARE);
        let addresses = std::iter::once(door.address).chain(door.others.iter().copied());
        let addresses: Vec<SocketAddr> = addresses.map(in_token).collect();
        let id = client_id(slot);
        let builder = ConnectToken::build(addresses.as_slice(), PROTOCOL_ID, id, key.bytes())
            .expire_seconds(i32::try_from(lives.as_secs()).unwrap_or(i32::MAX))
            .timeout_seconds(SILENCE_SECONDS)
            .user_data(user_data(&match_id.to_string(), slot, seat));
        let token = token_to_text(&builder.generate()?.try_into_bytes()?);
        door.tokens.insert(slot, token.clone());
        Ok(token)
    }

    /// A player is let in with another secret from now on, and needs another connect token.
    pub(crate) fn forget_token(&mut self, game: GameId, slot: usize) {
        if let Some(door) = self.doors.get_mut(&game) {
            door.tokens.remove(&slot);
        }
    }

    /// A game is gone, and with it what its key was good for.
    pub(crate) fn close(&mut self, game: GameId) {
        self.doors.remove(&game);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO: Duration = Duration::from_secs(10);

    fn doors() -> Doors {
        Doors::new(vec![[127, 0, 0, 1].into()])
    }

    #[test]
    fn a_key_is_of_one_game_and_goes_with_it() {
        let (one, other) = (GameId(1), GameId(2));
        let seat = Secret::from_bytes([1; 16]);
        let mut doors = doors();
        doors.build(one, 20000);
        doors.build(other, 20001);
        let token =
            |doors: &mut Doors, game, slot| doors.token(game, MatchId(17), slot, &seat, HELLO);
        assert!(matches!(token(&mut doors, one, 0), Err(DoorError::NoKey(_))), "before the start");
        let told = [one, other].map(|game| doors.open(game, HELLO).unwrap());
        assert_ne!(told[0].key, told[1].key);
        assert_eq!((told[0].address.port(), told[1].address.port()), (20000, 20001));
        assert_eq!(told[0].expires_ms, 15_000);
        let places = [(one, 0), (one, 1), (other, 0)];
        let tokens = places.map(|(game, slot)| token(&mut doors, game, slot).unwrap());
        assert!(tokens[0] != tokens[1] && tokens[0] != tokens[2] && tokens[0].len() == 2732);
        assert_eq!(token(&mut doors, one, 0).unwrap(), tokens[0], "told again");
        doors.forget_token(one, 0);
        assert_ne!(token(&mut doors, one, 0).unwrap(), tokens[0], "for another secret");
        doors.close(one);
        assert!(token(&mut doors, one, 0).is_err() && token(&mut doors, other, 0).is_ok());
        doors.build(GameId(3), 20001);
        assert!(token(&mut doors, other, 0).is_err(), "its port has another game");
        assert!(doors.open(GameId(9), HELLO).is_err());
    }

    #[test]
    fn what_the_daemon_shows_of_itself_holds_no_key() {
        let mut doors = doors();
        doors.build(GameId(1), 20000);
        let told = doors.open(GameId(1), HELLO).unwrap();
        let line = serde_json::to_string(&told.key).unwrap();
        assert!(!format!("{told:?}").contains(line.trim_matches('"')));
    }
}
