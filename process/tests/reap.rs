//! Reaping children: in a program of its own, where no other test has children.

#![allow(clippy::unwrap_used)]

use std::process::Command;

use process::reap;

#[test]
#[expect(clippy::zombie_processes, reason = "`reap` waits for it")]
fn a_child_is_reaped_with_its_exit_status_and_its_usage() {
    let child = Command::new("/bin/sh").args(["-c", "exit 7"]).spawn().unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    let ended = loop {
        if let Some(ended) = reap() {
            break ended;
        }
        std::thread::yield_now();
    };
    assert_eq!((ended.pid, ended.end), (pid, Ok(7)));
    assert!(ended.memory_peak_kib > 0);
    assert_eq!(reap(), None);
}
