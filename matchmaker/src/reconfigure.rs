//! Going on with another configuration.

use crate::config::Config;
use crate::matchmaker::Matchmaker;

/// What cannot be changed while there are players and games.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unchangeable(pub &'static str);

impl Matchmaker {
    /// Goes on with another configuration, from the next call on. What was decided by the old one stays decided: a
    /// deadline that runs, a match that was formed.
    ///
    /// # Errors
    /// [`Unchangeable`] when the ports or the modes are others, or modes of other sizes; then nothing is changed.
    ///
    /// # Panics
    /// When the configuration is not valid; see [`Config::assert_valid`].
    pub fn reconfigure(&mut self, config: Config) -> Result<(), Unchangeable> {
        config.assert_valid();
        let modes = |config: &Config| -> Vec<(String, Vec<usize>)> {
            config.modes.iter().map(|mode| (mode.name.clone(), mode.squads())).collect()
        };
        if modes(&self.config) != modes(&config) {
            return Err(Unchangeable("the names of the modes, their order and their sizes"));
        }
        if self.config.ports != config.ports {
            return Err(Unchangeable("the ring of ports"));
        }
        self.config = config;
        for mode in self.mode_ids() {
            let rules = self.mode(mode).rules();
            self.modes[mode.0].queue.change_rules(rules);
            self.modes[mode.0].fill_is_due = true;
        }
        Ok(())
    }
}
