//! The echo game, for a bot: a few pings, a few messages, a goodbye.

use client::{ClientError, GameSocket, Link};

use crate::PlayError;
use crate::console::Console;
use crate::limits::{ECHO_ANSWER_MAX, ECHO_TRY_MAX};

/// How often a message that may have been lost is sent.
const TRIES: u32 = 5;

const ROUNDS: u32 = 3;

pub(crate) fn play(console: &Console, mut game: GameSocket<Link>) -> Result<(), PlayError> {
    let address = game.address().to_owned();
    console.say(format_args!("welcome: echo on {address}"));
    let mut answered = 0;
    for round in 1..=ROUNDS {
        let took = retry(|| game.ping(&round.to_string(), ECHO_TRY_MAX))?;
        console.say(format_args!("ping {round}: {took:.1?}"));
        let words = format!("hello number {round}");
        let echoed = retry(|| {
            game.say(&words);
            game.next_words(ECHO_TRY_MAX)
        })?;
        answered += u32::from(echoed == words);
        console.say(format_args!("echo {round}: {}", protocol::Visible(&echoed)));
    }
    game.bye(ECHO_ANSWER_MAX)?;
    console.say(format_args!("result: {answered} of {ROUNDS} messages were returned"));
    if answered == ROUNDS { Ok(()) } else { Err(PlayError::Echo(answered, ROUNDS)) }
}

fn retry<T>(mut ask: impl FnMut() -> Result<T, ClientError>) -> Result<T, ClientError> {
    let mut asked = 1;
    loop {
        match ask() {
            Err(ClientError::TimedOut { .. }) if asked < TRIES => asked += 1,
            done => return done,
        }
    }
}
