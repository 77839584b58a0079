//! A game that breaks the rules, in the way that its first argument names. Only for tests.

#![forbid(unsafe_code)]

fn main() {}
