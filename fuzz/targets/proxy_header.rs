//! PROXY headers: hostile bytes never panic, and what is understood is understood the same however much of the rest is
//! there already.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::proxy::{HEADER_MAX, Header};

fuzz_target!(|said: &[u8]| {
    let read = Header::read(said);
    match read {
        Ok(None) => assert!(said.len() < HEADER_MAX, "{} bytes are enough", said.len()),
        Ok(Some(header)) => assert!((8..=16 + 65535).contains(&header.length)),
        Err(_) => {}
    }
    for end in 0..said.len().min(HEADER_MAX) {
        match Header::read(&said[..end]) {
            Ok(None) => {}
            decided => assert_eq!(decided, read, "after {end} bytes"),
        }
    }
});
