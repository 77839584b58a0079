//! Where a world takes its chances from.

/// A source of choices. The same source gives the same world.
pub trait Choices {
    /// A number from 0 up to `bound`, which is at least 1 and itself not included.
    fn below(&mut self, bound: u32) -> u32;

    /// Whether nothing is left to choose from; from then on all choices are 0.
    fn is_spent(&self) -> bool {
        false
    }

    /// True once in `n` times.
    fn one_in(&mut self, n: u32) -> bool {
        self.below(n) == n - 1
    }

    /// An index into something of `len` elements, of which there is at least one.
    fn index(&mut self, len: usize) -> usize {
        let bound = u32::try_from(len).unwrap_or(u32::MAX);
        self.below(bound) as usize
    }
}

/// Choices made by bytes, as a fuzzer draws them: a byte for a choice among up to 256, two for more.
#[derive(Debug)]
pub struct ByteChoices<'a> {
    bytes: std::slice::Iter<'a, u8>,
}

impl<'a> ByteChoices<'a> {
    /// Choices made by these bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes: bytes.iter() }
    }

    fn next_byte(&mut self) -> u32 {
        self.bytes.next().copied().unwrap_or_default().into()
    }
}

impl Choices for ByteChoices<'_> {
    fn below(&mut self, bound: u32) -> u32 {
        let number = match bound {
            0..=256 => self.next_byte(),
            _ => self.next_byte() << 8 | self.next_byte(),
        };
        number % bound
    }

    fn is_spent(&self) -> bool {
        self.bytes.as_slice().is_empty()
    }
}
