//! How deep a program's stack goes, counted as the verifier counts (`check_max_stack_depth`).

use super::instruction::Instruction;
use super::object::{Callee, Function};

/// The verifier rounds each frame up to this many bytes, and counts an empty frame as one byte before that.
const ROUND: u32 = 32;

/// The bytes of the deepest chain of calls that starts at `functions[start]`; `None` where calls recurse.
pub(crate) fn depth(functions: &[Function], start: usize) -> Option<u32> {
    chain(functions, start, &mut Vec::new())
}

fn chain(functions: &[Function], index: usize, callers: &mut Vec<usize>) -> Option<u32> {
    let Some(function) = functions.get(index) else { return Some(0) };
    if callers.contains(&index) {
        return None;
    }
    callers.push(index);
    let mut deepest = 0;
    for callee in &function.calls {
        if let Callee::Function(callee) = *callee {
            deepest = deepest.max(chain(functions, callee, callers)?);
        }
    }
    callers.pop();
    Some(frame(&function.instructions).max(1).next_multiple_of(ROUND) + deepest)
}

/// The bytes of one function's own frame: the lowest address that it touches or takes.
///
/// LLVM addresses a frame either directly (`*(r10 - 8)`) or by a copy of the frame pointer with a constant added right
/// after (`r2 = r10; r2 += -64`); the address of a buffer is its lowest byte.
fn frame(instructions: &[Instruction]) -> u32 {
    let accesses = instructions.iter().filter_map(|instruction| instruction.frame_access());
    let addresses = instructions.windows(2).filter_map(|pair| {
        let &[copy, add] = pair else { return None };
        let (register, constant) = add.adds_constant()?;
        (copy.copies_frame_pointer()? == register).then_some(constant)
    });
    let lowest = accesses.chain(addresses).min().unwrap_or(0);
    u32::try_from(-lowest.min(0)).unwrap_or(u32::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::{depth, frame};
    use crate::bpf::instruction::{Instruction, build};
    use crate::bpf::object::{Callee, Function};

    #[test]
    fn a_frame_is_as_deep_as_its_lowest_access_or_address() {
        assert_eq!(frame(&[build::exit()]), 0);
        assert_eq!(frame(&[build::spill(-8), build::spill(-48), build::exit()]), 48);
        let [copy, add] = build::frame_address(-96);
        assert_eq!(frame(&[build::spill(-8), copy, add, build::exit()]), 96);
    }

    #[test]
    fn a_store_through_another_register_is_no_access_of_the_frame() {
        assert_eq!(frame(&[build::store(-64), build::exit()]), 0);
    }

    fn function(instructions: Vec<Instruction>, calls: &[usize]) -> Function {
        let calls = calls.iter().map(|&callee| Callee::Function(callee)).collect();
        Function { instructions, calls, ..Function::default() }
    }

    #[test]
    fn the_deepest_chain_counts_not_the_sum_of_all_callees() {
        let functions = [
            function(vec![build::spill(-8)], &[1, 2]),
            function(vec![build::spill(-64)], &[]),
            function(vec![build::spill(-100)], &[3]),
            function(vec![], &[]),
        ];
        assert_eq!(depth(&functions, 0), Some(32 + 128 + 32));
    }

    #[test]
    fn recursion_has_no_depth() {
        let functions = [function(vec![], &[1]), function(vec![], &[0])];
        assert_eq!(depth(&functions, 0), None);
    }
}
