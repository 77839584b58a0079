//! Bytes that are mostly text, written down so that people can read them.

use bytes::BytesMut;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Any bytes. Each is written as the character of its number, and so is one of ASCII as itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Text(pub(crate) Vec<u8>);

impl Text {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<&[u8]> for Text {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

impl From<Text> for BytesMut {
    fn from(text: Text) -> Self {
        text.0.as_slice().into()
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let text: String = self.0.iter().copied().map(char::from).collect();
        text.serialize(to)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let bytes: Result<Vec<u8>, _> = text.chars().map(u8::try_from).collect();
        bytes.map(Self).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_bytes_come_back() {
        let all = Text((0..=255).collect());
        let written = serde_json::to_string(&all).unwrap();
        assert!(written.contains("PING".chars().next().unwrap()));
        assert_eq!(serde_json::from_str::<Text>(&written).unwrap(), all);
        assert!(serde_json::from_str::<Text>("\"\u{100}\"").is_err());
    }
}
