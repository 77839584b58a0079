//! Compiles a seccomp filter that is quick to install and to run.
//!
//! When a filter is installed the kernel compiles it and tries it with every system call, to remember those that it
//! always allows: a long list that is tried from its start would be the most expensive part of a launch. So the
//! filter is a binary search: calls that are allowed whatever their arguments take one instruction for each run of
//! adjacent numbers, and only the others are filters of seccompiler, one for each call.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Length, SeccompCondition, SeccompFilter,
    SeccompRule, sock_filter,
};

use super::{Allowed, Argument};

/// The offset of the system call's number; `struct seccomp_data`, seccomp(2).
const NUMBER_AT: u32 = 0;
/// The offset of the architecture that the number belongs to.
const ARCHITECTURE_AT: u32 = 4;

/// This architecture; linux/audit.h. Others have other numbers.
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xC000_003E;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xC000_00B7;
#[cfg(target_arch = "riscv64")]
const ARCHITECTURE: u32 = 0xC000_00F3;

/// The distance that a conditional jump reaches.
const NEAR: usize = u8::MAX as usize;

// The classic BPF instructions of the search; linux/bpf_common.h.
const LOAD: u16 = 0x20;
const JUMP: u16 = 0x05;
const JUMP_IF_EQUAL: u16 = 0x15;
const JUMP_IF_NOT_LESS: u16 = 0x35;
const RETURN: u16 = 0x06;

/// The answer to a run of numbers.
#[derive(Debug, Clone, PartialEq)]
enum Answer {
    Allow,
    Refuse,
    /// Fails as in a kernel without the call.
    Lack,
    /// Depends on the arguments.
    Ask(c_long),
}

/// The numbers of another calling convention, x32, begin here.
const OTHER_CONVENTION: c_long = 0x4000_0000;

/// Compiles a filter that allows these calls, answers `missing` and, from the number `newer` on, all others with
/// ENOSYS, and those below it with EPERM.
pub(super) fn compile(allowed: &[Allowed], missing: &[c_long], newer: c_long) -> BpfProgram {
    let mut program = vec![
        instruction(LOAD, 0, 0, ARCHITECTURE_AT),
        instruction(JUMP_IF_EQUAL, 1, 0, ARCHITECTURE),
        refuse(libc::EPERM),
        instruction(LOAD, 0, 0, NUMBER_AT),
    ];
    for call in missing {
        program.push(instruction(JUMP_IF_EQUAL, 0, 1, number(*call)));
        program.push(refuse(libc::ENOSYS));
    }
    search(&runs(allowed, newer), allowed, &mut program);
    program
}

/// The numbers at which the answer changes, from 0, and the answer from there on.
fn runs(allowed: &[Allowed], newer: c_long) -> Vec<(c_long, Answer)> {
    let otherwise = |call| match (newer..OTHER_CONVENTION).contains(&call) {
        true => Answer::Lack,
        false => Answer::Refuse,
    };
    let mut answers: BTreeMap<c_long, Answer> = BTreeMap::new();
    for (call, arguments) in allowed {
        let answer = if arguments.is_empty() { Answer::Allow } else { Answer::Ask(*call) };
        // A call that is allowed unconditionally needs no conditions.
        let known = answers.entry(*call).or_insert_with(|| answer.clone());
        if answer == Answer::Allow {
            *known = answer;
        }
    }
    for begin in [newer, OTHER_CONVENTION] {
        answers.entry(begin).or_insert_with(|| otherwise(begin));
    }
    let mut runs = vec![(0, Answer::Refuse)];
    for (call, answer) in answers {
        for (begin, answer) in [(call, answer), (call + 1, otherwise(call + 1))] {
            match runs.last_mut() {
                Some((last, known)) if *last == begin => *known = answer,
                _ => runs.push((begin, answer)),
            }
        }
    }
    runs.dedup_by(|next, before| next.1 == before.1);
    runs
}

/// Emits a binary search for the last run that does not begin after the number, and the answers.
fn search(runs: &[(c_long, Answer)], allowed: &[Allowed], program: &mut BpfProgram) {
    match runs {
        [] | [(_, Answer::Refuse)] => program.push(refuse(libc::EPERM)),
        [(_, Answer::Lack)] => program.push(refuse(libc::ENOSYS)),
        [(_, Answer::Allow)] => {
            program.push(instruction(RETURN, 0, 0, SeccompAction::Allow.into()));
        }
        [(_, Answer::Ask(call))] => program.extend(compile_call(*call, allowed)),
        _ => {
            let (lower, upper) = runs.split_at(runs.len() / 2);
            let mut first = Vec::new();
            search(lower, allowed, &mut first);
            let begin = number(upper[0].0);
            match u8::try_from(first.len()) {
                Ok(over) => program.push(instruction(JUMP_IF_NOT_LESS, over, 0, begin)),
                Err(_) => {
                    debug_assert!(first.len() > NEAR);
                    let over = u32::try_from(first.len()).unwrap_or_default();
                    program.push(instruction(JUMP_IF_NOT_LESS, 0, 1, begin));
                    program.push(instruction(JUMP, 0, 0, over));
                }
            }
            program.extend(first);
            search(upper, allowed, program);
        }
    }
}

/// Compiles a filter for one call and its arguments.
fn compile_call(call: c_long, allowed: &[Allowed]) -> BpfProgram {
    let rules = allowed.iter().filter(|(of, _)| *of == call);
    let rules = [(call, rules.map(|(_, arguments)| rule_of(arguments)).collect())];
    let architecture = match std::env::consts::ARCH.try_into() {
        Ok(architecture) => architecture,
        Err(error) => unreachable!("no filters for this architecture: {error}"),
    };
    let otherwise = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let filter = SeccompFilter::new(rules.into(), otherwise, SeccompAction::Allow, architecture);
    match filter.and_then(BpfProgram::try_from) {
        Ok(program) => program,
        Err(error) => unreachable!("invalid filter: {error}"),
    }
}

fn rule_of(arguments: &[Argument]) -> SeccompRule {
    let condition = |Argument(index, op, value): &Argument| {
        let length = if *value > u64::from(u32::MAX) { Length::Qword } else { Length::Dword };
        SeccompCondition::new(*index, length, op.clone(), *value)
    };
    let conditions = arguments.iter().map(condition).collect::<Result<_, _>>();
    match conditions.and_then(SeccompRule::new) {
        Ok(rule) => rule,
        Err(error) => unreachable!("invalid rule: {error}"),
    }
}

fn refuse(errno: i32) -> sock_filter {
    instruction(RETURN, 0, 0, SeccompAction::Errno(errno.unsigned_abs()).into())
}

fn number(call: c_long) -> u32 {
    u32::try_from(call).unwrap_or(u32::MAX)
}

fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

#[cfg(test)]
mod tests {
    use seccompiler::SeccompCmpOp;

    use super::*;

    /// Runs a filter for a call with a first argument, as the kernel would. Supports only the instructions that such
    /// filters consist of.
    fn answer(program: &BpfProgram, call: u32, argument: u64) -> (u32, usize) {
        let mut data = [0_u8; 64];
        data[..4].copy_from_slice(&call.to_le_bytes());
        let architecture: u32 =
            if cfg!(target_arch = "x86_64") { 0xC000_003E } else { 0xC000_00B7 };
        data[4..8].copy_from_slice(&architecture.to_le_bytes());
        data[16..24].copy_from_slice(&argument.to_le_bytes());
        let (mut accumulator, mut at, mut steps) = (0_u32, 0, 0);
        loop {
            let sock_filter { code, jt, jf, k } = program[at].clone();
            at += 1;
            steps += 1;
            let jump = |is_true: bool| usize::from(if is_true { jt } else { jf });
            match code {
                LOAD => {
                    let bytes = &data[k as usize..k as usize + 4];
                    accumulator = u32::from_le_bytes(bytes.try_into().unwrap());
                }
                JUMP => at += k as usize,
                JUMP_IF_EQUAL => at += jump(accumulator == k),
                JUMP_IF_NOT_LESS => at += jump(accumulator >= k),
                0x25 => at += jump(accumulator > k),
                0x54 => accumulator &= k,
                RETURN => return (k, steps),
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    #[test]
    fn each_call_gets_its_answer_in_few_steps() {
        let free = (0..450).step_by(3).map(|call| (call, Vec::new()));
        let one_only = (7, vec![Argument(0, SeccompCmpOp::Eq, 5)]);
        let free_in_any_case = (9, vec![Argument(0, SeccompCmpOp::Eq, 5)]);
        let allowed: Vec<Allowed> = free.chain([one_only, free_in_any_case]).collect();
        let program = compile(&allowed, &[435], 440);
        let allow = u32::from(SeccompAction::Allow);
        let refused = u32::from(SeccompAction::Errno(libc::EPERM.unsigned_abs()));
        let missing = u32::from(SeccompAction::Errno(libc::ENOSYS.unsigned_abs()));
        for call in 0..600 {
            let (said, steps) = answer(&program, call, 0);
            let expected = match call {
                435 => missing,
                0..450 if call % 3 == 0 => allow,
                440.. => missing,
                _ => refused,
            };
            assert_eq!(said, expected, "call {call}");
            assert!(steps < 30, "call {call} takes {steps} steps of {}", program.len());
        }
        assert_eq!(answer(&program, 7, 5).0, allow);
        assert_eq!(answer(&program, 7, 6).0, refused);
        // The other entry into the same kernel has its own numbers.
        assert_eq!(answer(&program, 0x4000_0000, 0).0, refused);
    }
}
