//! Numbers as people read them.

/// A count as a float.
#[expect(clippy::cast_precision_loss, reason = "no run counts so far")]
pub(crate) fn count(count: u64) -> f64 {
    count as f64
}

/// Microseconds in a unit with few digits.
pub(crate) fn time(micros: u64) -> String {
    let value = count(micros);
    match micros {
        0..1000 => format!("{micros} µs"),
        1000..10_000 => format!("{:.2} ms", value / 1e3),
        10_000..100_000 => format!("{:.1} ms", value / 1e3),
        100_000..1_000_000 => format!("{:.0} ms", value / 1e3),
        1_000_000..100_000_000 => format!("{:.2} s", value / 1e6),
        _ => format!("{:.0} s", value / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_few_digits() {
        for (micros, text) in [
            (0, "0 µs"),
            (999, "999 µs"),
            (1000, "1.00 ms"),
            (12_345, "12.3 ms"),
            (123_456, "123 ms"),
            (1_234_567, "1.23 s"),
            (3_600_000_000, "3600 s"),
        ] {
            assert_eq!(time(micros), text);
        }
    }
}
