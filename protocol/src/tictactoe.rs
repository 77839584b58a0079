//! The words and rules of the reference game tic-tac-toe.
