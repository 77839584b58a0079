//! Games that say too much, the wrong thing, or nothing; and games that hear nothing.

use std::io::Write as _;

use nix::sys::signal::{Signal, raise};
use protocol::{CONTROL_LINE_MAX, FromGame, GAME_CONTROL_FD};

use crate::contract::Game;

/// Bytes that a terminal or a log reader would interpret: colours, a title, a fake log line, an end of text, invalid
/// UTF-8, and a writing direction.
const HOSTILE: &[u8] =
    b"\x1b[31mred\x1b]0;title\x07\r2026-01-01T00:00:00.000Z INFO forged\x00\x85\x9b\xff\
    \xe2\x80\xae|";

const MEGABYTE: usize = 1_000_000;

/// Says its result and is gone.
pub(crate) fn end_with_result(end: &str) {
    let mut game = Game::sent_players();
    if end == "ordered" {
        game.say(&FromGame::Started);
        game.await_order("end");
        game.say_raw(b"{\"type\":\"result\",\"last\":true}\n");
        return;
    }
    // One write: the result is there when the exit is, and not before.
    game.say_raw(b"{\"type\":\"started\"}\n{\"type\":\"result\",\"last\":true}\n");
    if end == "signal" {
        raise(Signal::SIGKILL).unwrap();
    }
}

/// Says one thing that is none of the contract's, and plays on.
pub(crate) fn say(what: &str) -> ! {
    let mut game = Game::started();
    game.await_order("say it");
    let words = match what {
        "garbage" => b"\x00\xff\x1b[31m\x85 not JSON\n".to_vec(),
        "bad-json" => b"{\"type\":\"alive\"\n".to_vec(),
        "no-type" => b"{\"kind\":\"alive\"}\n".to_vec(),
        "secret" => {
            b"{\"type\":\"joined\",\"slot\":\"0123456789abcdef0123456789abcdef\"}\n".to_vec()
        }
        "no-object" => b"[\"alive\"]\n".to_vec(),
        "long-line" => [b"{\"type\":\"".as_slice(), &vec![b'x'; CONTROL_LINE_MAX]].concat(),
        "deep-nesting" => {
            let depth = CONTROL_LINE_MAX / 2 - 50;
            let (open, close) = ("[".repeat(depth), "]".repeat(depth));
            format!("{{\"type\":\"result\",\"deep\":{open}{close}}}\n").into_bytes()
        }
        "negative-slot" => b"{\"type\":\"joined\",\"slot\":-1}\n".to_vec(),
        "broken-slot" => b"{\"type\":\"left\",\"slot\":1e99}\n".to_vec(),
        // Numbers that are numbers, of slots that are none.
        "foreign-slots" => b"{\"type\":\"joined\",\"slot\":1}\n{\"type\":\"left\",\"slot\":7}\n\
            {\"type\":\"joined\",\"slot\":18446744073709551615}\n"
            .to_vec(),
        _ => panic!("nothing to say of {what}"),
    };
    game.say_raw(&words);
    game.echo()
}

/// Prints hostile bytes, and has them in its result, too.
pub(crate) fn print_hostile_bytes() {
    let mut game = Game::started();
    game.await_order("say it");
    let mut stdout = std::io::stdout();
    stdout.write_all(&[b"printed ", HOSTILE, b"\n"].concat()).unwrap();
    // The last line has no end.
    stdout.write_all(&[b"cut off ", HOSTILE].concat()).unwrap();
    stdout.flush().unwrap();
    let text = String::from_utf8_lossy(HOSTILE);
    let fields = serde_json::Map::from_iter([("said".to_owned(), format!("{text}\n").into())]);
    game.say(&FromGame::Result { fields });
}

/// Says as much as it can, for ever.
pub(crate) fn flood(channel: &str) -> ! {
    let mut game = Game::started();
    let words: &[u8] = match channel {
        "lines" => b"I have something to say\n",
        "endless-line" => b"and so on ",
        "control" => flood_control(&mut game),
        _ => panic!("no such channel: {channel}"),
    };
    let words = words.repeat(1000);
    let mut stdout = std::io::stdout();
    let mut said = 0;
    loop {
        stdout.write_all(&words).unwrap();
        let before = said / MEGABYTE;
        said += words.len();
        if said / MEGABYTE > before {
            eprintln!("\n{} MB said", said / MEGABYTE);
        }
    }
}

/// Says one message after another, and now and then how many it could say by then.
fn flood_control(game: &mut Game) -> ! {
    let words = b"{\"type\":\"alive\"}\n{\"type\":\"joined\",\"slot\":0}\n{\"type\":\"news\"}\n";
    let began = std::time::Instant::now();
    for round in 1_u32.. {
        words.split_inclusive(|&byte| byte == b'\n').for_each(|line| game.say_raw(line));
        if round.is_multiple_of(200) {
            let millis = began.elapsed().as_millis();
            eprintln!("messages said: count={} millis={millis} by now", 3 * round);
        }
    }
    unreachable!("it says no more than there are numbers")
}

/// Never reads a word of Muster's, and plays on.
pub(crate) fn never_listen() -> ! {
    let mut game = Game::ready();
    // It has to guess that there are players by now.
    game.await_order("start");
    game.say(&FromGame::Started);
    game.echo()
}

/// Closes its control channel, all of its descriptors, and plays on.
pub(crate) fn hang_up() -> ! {
    let game = Game::started().hung_up();
    nix::unistd::close(GAME_CONTROL_FD).unwrap();
    println!("hung up");
    game.echo()
}
