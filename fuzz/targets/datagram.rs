//! Datagrams between players and games: hostile bytes never panic, what is understood survives its text, and
//! no answer is longer than its question.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::datagram::{FromPlayer, Welcome};

fuzz_target!(|datagram: &[u8]| {
    if let Some(said) = FromPlayer::parse(datagram) {
        let text = said.to_string();
        assert!(!text.contains(char::is_control), "{text:?}");
        assert_eq!(FromPlayer::parse(text.as_bytes()), Some(said.clone()), "{text:?}");
        if let FromPlayer::Hello { match_id, .. } = said {
            let welcome = Welcome { match_id, slot: 127, players: 128, challenge: Some("abc-_9") };
            assert!(welcome.to_string().len() <= datagram.len(), "{text:?}");
        }
    }
    if let Some(welcome) = Welcome::parse(datagram) {
        let text = welcome.to_string();
        assert!(!text.contains(char::is_control), "{text:?}");
        assert_eq!(Welcome::parse(text.as_bytes()), Some(welcome.clone()), "{text:?}");
    }
});
