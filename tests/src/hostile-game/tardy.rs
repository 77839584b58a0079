//! Games that do not do in time what is due, or never.

use std::time::{Duration, Instant};

use protocol::FromGame;

use crate::contract::{Game, hang};
use crate::leftovers;

/// How often a heart beats.
const BEAT: Duration = Duration::from_millis(20);

pub(crate) fn never_ready() -> ! {
    println!("never ready");
    hang()
}

pub(crate) fn never_started() -> ! {
    let _game = Game::sent_players();
    println!("never started");
    hang()
}

/// Has `ready`, or `started`, said in its name when its time is over and it is dead.
pub(crate) fn too_late(word: &str) -> ! {
    let _game = match word {
        "ready" => None,
        _ => Some(Game::sent_players()),
    };
    leftovers::leave_mourner(word);
    hang()
}

/// Gives signs of life until a player tells it not to.
pub(crate) fn heart_stops() -> ! {
    let mut game = Game::started();
    let born = Instant::now();
    game.socket.set_read_timeout(Some(BEAT)).unwrap();
    let mut datagram = [0; 1200];
    let mut seconds = 0;
    while game.socket.recv(&mut datagram).is_err() {
        game.say(&FromGame::Alive);
        if born.elapsed().as_secs() > seconds {
            seconds = born.elapsed().as_secs();
            println!("alive for {seconds}s");
        }
    }
    hang()
}

/// Needs so much memory before it is ready.
pub(crate) fn needs_memory(bytes: usize) {
    let memory: Vec<u8> = Vec::with_capacity(bytes);
    println!("has {} bytes", memory.capacity());
    crate::become_honest();
}
