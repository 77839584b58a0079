//! System calls that no library makes: a program in C tries them, linked statically like our own `strict` programs.

use std::process::Command;

use testkit::Setup;

/// Each attempt prints `denied`, or what it came to.
const SOURCE: &str = r#"
#define _GNU_SOURCE
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(void) {
    char *words[] = {"sh", "-c", "echo a shell", 0}, *nothing[] = {0};
    syscall(SYS_execve, "/bin/sh", words, nothing);
    /* By a descriptor beyond its limit, which the kernel does not look at for an absolute path. */
    syscall(SYS_execveat, 0x7fffffff, "/bin/sh", words, nothing, 0x1000);
    puts("other programs: denied");
    int all = PROT_READ | PROT_WRITE | PROT_EXEC;
    void *code = mmap(0, 4096, all, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    puts(code == MAP_FAILED ? "code in data: denied" : "code in data");
    puts(syscall(SYS_openat, -100, "/bin/sh", 0) < 0 ? "files: denied" : "files");
    fflush(stdout);
    pause();
}
"#;

/// Faults row 26: a strict game that is linked statically runs no program, makes none of data, and opens nothing.
#[test]
fn a_strict_static_game_executes_and_opens_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (source, program) = (directory.path().join("game.c"), directory.path().join("game"));
    std::fs::write(&source, SOURCE).unwrap();
    let mut compile = Command::new("cc");
    compile.arg("-static").arg("-o").arg(&program).arg(&source);
    let compiled = compile.status().unwrap();
    assert!(compiled.success(), "cc: {compiled}");
    let keys = "players = 1\nwarm = 1\nready_timeout = \"1h\"\nstop_grace = \"100ms\"\n\
                [mode.confinement]\nseccomp = \"strict\"";
    let muster = Setup::default().mode("c", &[program.to_str().unwrap()], keys).start();
    for denied in ["other programs: denied", "code in data: denied", "files: denied"] {
        muster.log().wait_for(&["output game=1", denied]);
    }
}
