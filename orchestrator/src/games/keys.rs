//! Keys and connect tokens for `transport=netcode`: a key for each match, and a token for each of its players.
//!
//! A key is drawn for one match, sent to its game alone and forgotten with it, so that a compromised game can admit
//! nobody to another one. A token is made when its player is assigned; the game has the key by then. The standard counts a
//! token's life in wall-clock time; [`TOKEN_SPARE`] allows for clocks that are set.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use brain::{GameId, MatchId};
use netcode::ConnectToken;
use protocol::Secret;
use protocol::netcode::{Key, Netcode, PROTOCOL_ID, client_id, in_token, token_to_text, user_data};
use serde::{Deserialize, Serialize};

/// How much longer than `hello_timeout` a game accepts a token: time for the handshake.
const HELLO_SPARE: Duration = Duration::from_secs(5);

/// How much longer than that a token is valid by the wall clock. Clocks get set, and no deadline of Muster moves with
/// them: a game counts seconds on a monotonic clock, and its key is gone when the game is.
const TOKEN_SPARE: Duration = Duration::from_secs(2 * 3600);

/// Seconds without a packet after which either side closes the connection.
const SILENCE_SECONDS: i32 = 15;

/// The netcode side of one game.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct NetcodeKeys {
    /// Where the game is reached, the address that it is given first. Several where `ports.public_host` is a name that
    /// has several.
    addresses: Vec<SocketAddr>,
    /// Drawn when the game gets its players.
    key: Option<Key>,
    /// By slot. A player who is assigned again gets the same token: of two tokens for one slot, a game that let the
    /// player half-way in with the first would not know the second.
    tokens: BTreeMap<usize, String>,
}

/// A change of a game's netcode side, as the journal holds it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum KeyChange {
    /// The game is being launched, and will be reached here.
    Addresses(Vec<SocketAddr>),
    /// A key was drawn for the game's match.
    Key(Key),
    /// A connect token was made for the player in a slot.
    Token { slot: usize, token: String },
}

/// Why there is no key, or no connect token.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    #[error("game {0} has no key")]
    NoKey(GameId),
    #[error("cannot draw random bytes: {0}")]
    Draw(getrandom::Error),
    #[error("cannot make a connect token: {0}")]
    Make(#[from] netcode::Error),
    #[error("cannot write a connect token: {0}")]
    Write(#[from] io::Error),
}

/// The player that a connect token is for.
pub(crate) struct TokenHolder<'a> {
    pub(crate) match_id: MatchId,
    pub(crate) slot: usize,
    /// What lets the player into the game.
    pub(crate) secret: &'a Secret,
}

/// Draws the key of a match.
///
/// # Errors
/// When the system has no random bytes.
pub(crate) fn draw_key() -> Result<Key, KeyError> {
    let mut bytes = [0; Key::BYTES];
    getrandom::fill(&mut bytes).map_err(KeyError::Draw)?;
    Ok(Key::from_bytes(bytes))
}

impl NetcodeKeys {
    pub(crate) fn apply(&mut self, change: KeyChange) {
        match change {
            KeyChange::Addresses(addresses) => self.addresses = addresses,
            KeyChange::Key(key) => {
                self.key = Some(key);
                self.tokens.clear();
            }
            KeyChange::Token { slot, token } => drop(self.tokens.insert(slot, token)),
        }
    }

    /// What a game is sent of its key. `None`: it has none.
    pub(crate) fn for_game(&self, hello_timeout: Duration) -> Option<Netcode> {
        let expires = hello_timeout.saturating_add(HELLO_SPARE);
        Some(Netcode {
            protocol_id: PROTOCOL_ID,
            key: self.key?,
            address: *self.addresses.first()?,
            expires_ms: u64::try_from(expires.as_millis()).unwrap_or(u64::MAX),
        })
    }

    /// The connect token of the player in a slot, where one was made.
    pub(crate) fn token(&self, slot: usize) -> Option<&String> {
        self.tokens.get(&slot)
    }

    /// Makes a connect token, in base64.
    ///
    /// # Errors
    /// When the game has no key, or the wall clock shows a time before 1970.
    pub(crate) fn make_token(
        &self,
        game: GameId,
        holder: &TokenHolder<'_>,
        hello_timeout: Duration,
    ) -> Result<String, KeyError> {
        let key = self.key.ok_or(KeyError::NoKey(game))?;
        let lives = hello_timeout.saturating_add(HELLO_SPARE + TOKEN_SPARE);
        let addresses: Vec<SocketAddr> = self.addresses.iter().copied().map(in_token).collect();
        let TokenHolder { match_id, slot, secret } = *holder;
        let id = client_id(slot);
        let builder = ConnectToken::build(addresses.as_slice(), PROTOCOL_ID, id, key.bytes())
            .expire_seconds(i32::try_from(lives.as_secs()).unwrap_or(i32::MAX))
            .timeout_seconds(SILENCE_SECONDS)
            .user_data(user_data(&match_id.to_string(), slot, secret));
        Ok(token_to_text(&builder.generate()?.try_into_bytes()?))
    }

    /// The player in a slot has another secret from now on, and needs another connect token.
    pub(crate) fn forget_token(&mut self, slot: usize) {
        self.tokens.remove(&slot);
    }
}

#[cfg(test)]
impl NetcodeKeys {
    pub(crate) fn has_token(&self, slot: usize) -> bool {
        self.tokens.contains_key(&slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GAME: GameId = GameId(1);
    const HELLO: Duration = Duration::from_secs(10);

    fn keys(port: u16) -> NetcodeKeys {
        let mut keys = NetcodeKeys::default();
        keys.apply(KeyChange::Addresses(vec![([127, 0, 0, 1], port).into()]));
        keys
    }

    fn make_token(keys: &NetcodeKeys, slot: usize) -> Result<String, KeyError> {
        let secret = &Secret::from_bytes([1; 16]);
        keys.make_token(GAME, &TokenHolder { match_id: MatchId(17), slot, secret }, HELLO)
    }

    #[test]
    fn each_game_has_a_key_of_its_own_and_each_slot_a_token() {
        let mut all = [keys(20000), keys(20001)];
        assert!(matches!(make_token(&all[0], 0), Err(KeyError::NoKey(GAME))), "before the start");
        assert!(all[0].for_game(HELLO).is_none());
        for keys in &mut all {
            keys.apply(KeyChange::Key(draw_key().unwrap()));
        }
        let sent = all.each_ref().map(|keys| keys.for_game(HELLO).unwrap());
        assert_ne!(sent[0].key, sent[1].key);
        assert_eq!((sent[0].address.port(), sent[1].address.port()), (20000, 20001));
        assert_eq!(sent[0].expires_ms, 15_000);
        let tokens =
            [(0, 0), (0, 1), (1, 0)].map(|(game, slot)| make_token(&all[game], slot).unwrap());
        assert!(tokens[0] != tokens[1] && tokens[0] != tokens[2] && tokens[0].len() == 2732);
    }

    #[test]
    fn a_token_is_kept_until_there_is_another_key() {
        let mut keys = keys(20000);
        keys.apply(KeyChange::Key(draw_key().unwrap()));
        let token = make_token(&keys, 0).unwrap();
        keys.apply(KeyChange::Token { slot: 0, token: token.clone() });
        assert_eq!(keys.token(0), Some(&token));
        keys.apply(KeyChange::Key(draw_key().unwrap()));
        assert_eq!(keys.token(0), None);
    }

    #[test]
    fn debug_output_holds_no_key() {
        let key = draw_key().unwrap();
        let mut keys = keys(20000);
        keys.apply(KeyChange::Key(key));
        let text = serde_json::to_string(&key).unwrap();
        assert!(!format!("{keys:?}").contains(text.trim_matches('"')));
    }
}
