//! A game at the terminal: the loop that all games share.

use std::os::fd::AsFd as _;
use std::time::Instant;

use client::{ClientError, GameSocket, Machine};

use crate::PlayError;
use crate::console::Console;
use crate::limits::BYE_MAX;

/// A game at the terminal, for a person or a bot.
pub(crate) trait View {
    /// The player's machine.
    type Machine: Machine;

    /// The terminal, and the game.
    fn parts(&mut self) -> (&mut Console, &mut GameSocket<Self::Machine>);

    fn handle_event(&mut self, event: <Self::Machine as Machine>::Event);

    /// Handles what was typed.
    fn handle_input(&mut self);

    /// Plays for a bot, and shows what is due. Returns when to call it again.
    fn update(&mut self) -> Option<Instant>;

    /// Whether the game has ended.
    fn is_over(&self) -> bool;

    /// Shows the result, when the terminal has been restored.
    fn show_end(&mut self);
}

/// Plays until the game is over, or the person leaves.
pub(crate) fn play(view: &mut impl View) -> Result<(), PlayError> {
    loop {
        let (_, game) = view.parts();
        game.turn()?;
        while let Some(event) = view.parts().1.poll_event() {
            view.handle_event(event);
        }
        let is_over = view.is_over();
        let (console, game) = view.parts();
        if let Some(closed) = game.closed() {
            console.give_back();
            if !is_over {
                let address = game.address().to_owned();
                return Err(ClientError::Game { address, closed }.into());
            }
            view.show_end();
            return Ok(());
        }
        let again_at = view.update();
        let (console, game) = view.parts();
        let until = [game.next_deadline(), again_at];
        console.wait(game.as_fd(), until.into_iter().flatten().min())?;
        view.handle_input();
        let is_over = view.is_over();
        let (console, game) = view.parts();
        if console.wants_out() && !is_over {
            game.bye(BYE_MAX)?;
            console.give_back();
            console.say("\nleft the game");
            return Ok(());
        }
    }
}
