//! Tokens and resume keys.

use std::fmt;
use std::str::FromStr;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use subtle::ConstantTimeEq;

/// 128 random bits that grant a right: a token (to join a game) or a resume key (to resume a session).
///
/// The text form is 32 lower-case hexadecimal digits. Secrets are compared in constant time, and the debug form hides
/// the bits, so that none is logged by accident.
#[derive(Clone, Copy)]
pub struct Secret([u8; Secret::BYTES]);

impl Secret {
    /// The size of a secret, in bytes.
    pub const BYTES: usize = 16;

    /// A secret from bits that the caller drew from the system's random source.
    pub const fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// The first half of the bits, to look up a secret before all of it is compared.
    pub fn first_half(&self) -> u64 {
        let (half, _) = self.0.split_at(Self::BYTES / 2);
        half.iter().fold(0, |bits, byte| bits << 8 | u64::from(*byte))
    }
}

/// A text that is not 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not {} hexadecimal digits", Secret::BYTES * 2)]
pub struct BadSecret;

impl FromStr for Secret {
    type Err = BadSecret;

    fn from_str(text: &str) -> Result<Self, BadSecret> {
        if text.len() != Self::BYTES * 2 {
            return Err(BadSecret);
        }
        let mut bytes = [0; Self::BYTES];
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            *byte = hex_digit(digits[0])? << 4 | hex_digit(digits[1])?;
        }
        Ok(Self(bytes))
    }
}

fn hex_digit(digit: u8) -> Result<u8, BadSecret> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok()).ok_or(BadSecret)
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Secret {}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Digits)
    }
}

struct Digits;

impl Visitor<'_> for Digits {
    type Value = Secret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} hexadecimal digits", Secret::BYTES * 2)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Secret, E> {
        text.parse().map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_survives_its_text_form_and_is_hidden_in_its_debug_form() {
        let secret = Secret::from_bytes([0x0f; 16]);
        assert_eq!(secret.to_string().parse(), Ok(secret));
        assert_eq!(secret.to_string(), "0f".repeat(16));
        assert!(!format!("{secret:?}").contains("0f"));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in
            ["", "0f", &"0g".repeat(16), &"0f".repeat(17), &"é".repeat(16), &"+f".repeat(16)]
        {
            assert_eq!(text.parse::<Secret>(), Err(BadSecret), "{text}");
        }
    }
}
