//! Places of a function from which control never comes to an exit: what an inlined panic handler looks like.

use super::instruction::{Flow, Instruction};

/// The first slot that control can get to from the function's start and from which no exit can be reached.
pub(crate) fn first(instructions: &[Instruction]) -> Option<usize> {
    let reached = from_start(instructions);
    let ending = to_exit(instructions);
    reached.iter().zip(&ending).position(|(&reached, &ending)| reached && !ending)
}

fn from_start(instructions: &[Instruction]) -> Vec<bool> {
    let mut reached = vec![false; instructions.len()];
    let mut open = vec![0];
    while let Some(slot) = open.pop() {
        let Some(seen) = reached.get_mut(slot) else { continue };
        if !std::mem::replace(seen, true) {
            open.extend(successors(instructions, slot));
        }
    }
    reached
}

fn to_exit(instructions: &[Instruction]) -> Vec<bool> {
    let mut predecessors = vec![Vec::new(); instructions.len()];
    let mut open = Vec::new();
    for (slot, instruction) in instructions.iter().enumerate() {
        if instruction.flow() == Flow::Exit {
            open.push(slot);
        }
        for next in successors(instructions, slot) {
            if let Some(predecessors) = predecessors.get_mut(next) {
                predecessors.push(slot);
            }
        }
    }
    let mut ending = vec![false; instructions.len()];
    while let Some(slot) = open.pop() {
        let Some(seen) = ending.get_mut(slot) else { continue };
        if !std::mem::replace(seen, true) {
            open.extend(predecessors.get(slot).into_iter().flatten().copied());
        }
    }
    ending
}

/// The slots that can follow `slot`; one past the end is none.
fn successors(instructions: &[Instruction], slot: usize) -> impl Iterator<Item = usize> {
    let flow = instructions.get(slot).map(|instruction| instruction.flow());
    let (near, far) = match flow {
        Some(Flow::Next { wide }) => (Some(slot + 1 + usize::from(wide)), None),
        Some(Flow::Jump(distance)) => (None, Some(distance)),
        Some(Flow::Branch(distance)) => (Some(slot + 1), Some(distance)),
        Some(Flow::Exit) | None => (None, None),
    };
    let far = far.and_then(|distance| (slot + 1).checked_add_signed(isize::try_from(distance).ok()?));
    near.into_iter().chain(far)
}

#[cfg(test)]
mod tests {
    use super::first;
    use crate::bpf::instruction::build::{branch, exit, helper_call, jump, wide_load};

    #[test]
    fn a_function_that_always_ends_has_no_endless_place() {
        let [wide, second] = wide_load();
        // if r1 == 0 skip; r1 = map; call; loop back while r1 == 0; exit
        assert_eq!(first(&[branch(3), wide, second, helper_call(1), branch(-4), exit()]), None);
    }

    #[test]
    fn a_loop_without_an_exit_is_found() {
        assert_eq!(first(&[branch(1), exit(), helper_call(1), jump(-2)]), Some(2));
    }

    #[test]
    fn a_loop_that_nothing_reaches_is_no_fault() {
        assert_eq!(first(&[exit(), jump(-1)]), None);
    }

    #[test]
    fn running_off_the_end_is_endless() {
        assert_eq!(first(&[branch(1), exit(), helper_call(1)]), Some(2));
    }
}
