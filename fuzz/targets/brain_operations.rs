//! The simulated world around the brain, with every choice made by the fuzzer's bytes. All promises are checked after
//! every step; see `simulation`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use simulation::{ByteChoices, Trace, World};

fuzz_target!(|bytes: &[u8]| {
    let mut choices = ByteChoices::new(bytes);
    let mut world = World::new(&mut choices, Trace::new(TRACE_MAX));
    if let Err(flaw) = world.run(usize::MAX) {
        panic!("{:#?}\n{}\n{flaw}", world.config(), world.trace());
    }
});

/// The number of recent events that are printed when a promise is violated.
const TRACE_MAX: usize = 100;
