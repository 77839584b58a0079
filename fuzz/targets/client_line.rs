//! Lines between players and Muster: hostile bytes never panic, and what is understood survives its text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::{LineBuffer, LineTooLong, Reply, Request};

fuzz_target!(|bytes: &[u8]| {
    requests_survive_their_text(bytes);
    replies_survive_their_text(bytes);
    if let Some((&cut, stream)) = bytes.split_first() {
        cuts_change_nothing(usize::from(cut) + 1, stream);
    }
});

fn requests_survive_their_text(line: &[u8]) {
    match Request::parse(line) {
        Ok(Some(request)) => {
            let text = request.to_string();
            assert!(!text.contains(char::is_control), "{text:?}");
            assert_eq!(Request::parse(text.as_bytes()), Ok(Some(request)), "{text:?}");
        }
        Ok(None) => {}
        // Clients and the log read it.
        Err(error) => assert!(!error.to_string().contains(char::is_control), "{error:?}"),
    }
}

fn replies_survive_their_text(line: &[u8]) {
    match Reply::parse(line) {
        Ok(reply) => {
            let text = reply.to_string();
            assert!(!text.contains(char::is_control), "{text:?}");
            assert_eq!(Reply::parse(text.as_bytes()), Ok(reply), "{text:?}");
        }
        Err(error) => assert!(!error.to_string().contains(char::is_control), "{error:?}"),
    }
}

/// A stream gives the same lines, the same end and the same rest, however it is cut.
fn cuts_change_nothing(cut: usize, stream: &[u8]) {
    const LINE_MAX: usize = 32;
    let read = |cut: usize| {
        let mut buffer = LineBuffer::new(LINE_MAX);
        let mut lines = Vec::new();
        for part in stream.chunks(cut) {
            buffer.extend(part);
            if let Err(LineTooLong { line_max }) = take_lines(&mut buffer, &mut lines) {
                assert_eq!(line_max, LINE_MAX);
                assert!(buffer.next_line().is_err(), "an error that went away");
                return (lines, None);
            }
        }
        (lines, Some(buffer.take_rest()))
    };
    assert_eq!(read(cut), read(stream.len().max(1)), "cut every {cut} bytes");
}

fn take_lines(buffer: &mut LineBuffer, lines: &mut Vec<Vec<u8>>) -> Result<(), LineTooLong> {
    while let Some(line) = buffer.next_line()? {
        lines.push(line.to_vec());
    }
    Ok(())
}
