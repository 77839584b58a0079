//! Random bits for keys and tokens.

use protocol::Secret;

/// Secrets that are drawn at a time: the kernel takes as long for one as for so many.
const DRAWN: usize = 32;

/// Draws secrets from the system's random source, some of them ahead.
#[derive(Default)]
pub(crate) struct Secrets {
    ahead: Vec<Secret>,
}

impl Secrets {
    /// 128 bits that nobody was given before.
    ///
    /// # Errors
    /// When the system has no random bytes.
    pub(crate) fn draw(&mut self) -> Result<Secret, getrandom::Error> {
        if self.ahead.is_empty() {
            let mut bytes = [[0; Secret::BYTES]; DRAWN];
            getrandom::fill(bytes.as_flattened_mut())?;
            self.ahead.extend(bytes.map(Secret::from_bytes));
        }
        // One was just put there if there was none.
        self.ahead.pop().ok_or(getrandom::Error::UNEXPECTED)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_secret_is_drawn_twice() {
        let mut secrets = Secrets::default();
        let drawn: BTreeSet<String> =
            (0..3 * DRAWN).map(|_| secrets.draw().unwrap().to_string()).collect();
        assert_eq!(drawn.len(), 3 * DRAWN);
        assert!(!drawn.contains(&"0".repeat(32)));
    }
}
