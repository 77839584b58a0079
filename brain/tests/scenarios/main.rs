//! Scenarios of the brain: inputs, and the actions that follow.

#[cfg(test)]
mod accounts;
#[cfg(test)]
mod backfill;
#[cfg(test)]
mod figures;
#[cfg(test)]
mod games;
#[cfg(test)]
mod going_down;
#[cfg(test)]
mod offers;
#[cfg(test)]
mod operators;
#[cfg(test)]
mod parties;
#[cfg(test)]
mod players;
#[cfg(test)]
mod ports;
#[cfg(test)]
mod refills;
#[cfg(test)]
mod returns;
#[cfg(test)]
mod seated;
#[cfg(test)]
mod skill;
#[cfg(test)]
mod story;
#[cfg(test)]
mod warmth;
