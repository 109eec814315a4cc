//! What the verifier would say of an object, as far as it can be told without a kernel: how deep each program's stack
//! goes, how many instructions it has with all that it calls, and whether a panic can be reached.

use std::collections::BTreeSet;
use std::fmt;

use super::endless;
use super::object::{Callee, Function};
use super::stack;

/// What the kernel allows for a whole chain of calls, in bytes (`MAX_BPF_STACK`).
pub(crate) const STACK_LIMIT: u32 = 512;

/// Names of functions (demangled or not) that are there to panic. The last is the panic handler's symbol.
const PANICS: [&str; 4] =
    ["core::panicking", "4core9panicking", "core::option::unwrap_failed", "rust_begin_unwind"];

/// What LLVM calls where it proved that control never gets: undefined behaviour, if it does. No kernel below 6.16 has it.
const TRAP: &str = "__bpf_trap";

/// One program and what was found in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) section: String,
    pub(crate) name: String,
    /// Bytes of stack of the deepest chain of calls, as the verifier rounds them; `None` where calls recurse.
    pub(crate) stack: Option<u32>,
    /// Slots of the program and of every function that it reaches.
    pub(crate) instructions: usize,
    pub(crate) faults: BTreeSet<Fault>,
}

/// Why the kernel would refuse a program.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// Calls recurse, or the stack goes deeper than allowed.
    Stack(Option<u32>),
    /// A function that is there to panic.
    Panic { function: String },
    /// An instruction after which the program never ends: a panic handler's loop, most likely, inlined.
    Endless { function: String, slot: usize },
    /// A place that the compiler took for unreachable.
    Trap { function: String },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stack(None) => write!(f, "its calls recurse"),
            Self::Stack(Some(bytes)) => write!(f, "its stack of {bytes} bytes exceeds {STACK_LIMIT}"),
            Self::Panic { function } => write!(f, "a panic can be reached: {function}"),
            Self::Endless { function, slot } => {
                write!(
                    f,
                    "a panic can be reached: from instruction {slot} of {function} control never returns"
                )
            }
            Self::Trap { function } => write!(f, "{function} can reach a trap of the compiler"),
        }
    }
}

/// Inspects every program.
pub(crate) fn inspect(functions: &[Function]) -> Vec<Report> {
    let programs = functions.iter().enumerate().filter(|(_, function)| function.is_program);
    let mut reports: Vec<Report> =
        programs.map(|(index, program)| report(functions, index, program)).collect();
    reports.sort_by(|a, b| (&a.section, &a.name).cmp(&(&b.section, &b.name)));
    reports
}

fn report(functions: &[Function], index: usize, program: &Function) -> Report {
    let reached: Vec<&Function> =
        reachable(functions, index).into_iter().filter_map(|i| functions.get(i)).collect();
    let stack = stack::depth(functions, index);
    let mut faults = BTreeSet::new();
    if stack.is_none_or(|bytes| bytes > STACK_LIMIT) {
        faults.insert(Fault::Stack(stack));
    }
    for function in &reached {
        let name = || function.name.clone();
        if PANICS.iter().any(|panic| function.name.contains(panic)) {
            faults.insert(Fault::Panic { function: name() });
        } else if let Some(slot) = endless::first(&function.instructions) {
            faults.insert(Fault::Endless { function: name(), slot });
        }
        if function.calls.iter().any(|callee| matches!(callee, Callee::External(name) if name == TRAP)) {
            faults.insert(Fault::Trap { function: name() });
        }
    }
    Report {
        section: program.section.clone(),
        name: program.name.clone(),
        stack,
        instructions: reached.iter().map(|function| function.instructions.len()).sum(),
        faults,
    }
}

/// The function and all that it calls, directly or not.
fn reachable(functions: &[Function], start: usize) -> BTreeSet<usize> {
    let mut reached = BTreeSet::from([start]);
    let mut open = vec![start];
    while let Some(function) = open.pop().and_then(|index| functions.get(index)) {
        for callee in &function.calls {
            if let Callee::Function(callee) = *callee
                && reached.insert(callee)
            {
                open.push(callee);
            }
        }
    }
    reached
}

/// A table of the reports, one line a program.
pub(crate) fn table(reports: &[Report]) -> String {
    let mut table = format!("{:<20} {:<18} {:>12} {:>6}\n", "section", "program", "instructions", "stack");
    for Report { section, name, stack, instructions, .. } in reports {
        let stack = stack.map_or("-".to_owned(), |bytes| bytes.to_string());
        table.push_str(&format!("{section:<20} {name:<18} {instructions:>12} {stack:>6}\n"));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::{Fault, Report, inspect};
    use crate::bpf::instruction::build;
    use crate::bpf::object::functions;
    use crate::bpf::object::tests::{Part, elf};

    fn only_report(parts: &[Part<'_>]) -> Report {
        let functions = functions(&elf(parts)).expect("the object can be read");
        let mut reports = inspect(&functions);
        assert_eq!(reports.len(), 1, "one program in {reports:?}");
        reports.remove(0)
    }

    #[test]
    fn a_program_is_reported_with_the_instructions_and_the_stack_of_what_it_calls() {
        let report = only_report(&[
            Part {
                section: ".text",
                name: "unused",
                code: vec![build::spill(-400), build::exit()],
                calls: &[],
            },
            Part { section: ".text", name: "sub", code: vec![build::spill(-40), build::exit()], calls: &[] },
            Part {
                section: "classifier",
                name: "program",
                code: vec![build::spill(-8), build::function_call(-1), build::exit()],
                calls: &[(1, "sub")],
            },
        ]);
        assert_eq!(report.instructions, 5);
        assert_eq!(report.stack, Some(32 + 64));
        assert!(report.faults.is_empty(), "{:?}", report.faults);
    }

    #[test]
    fn a_panic_that_a_subprogram_of_a_subprogram_calls_is_a_fault() {
        let panic = "_RNvNtCs1234_4core9panicking9panic_fmt";
        let call = build::function_call(-1);
        let report = only_report(&[
            Part { section: ".text", name: panic, code: vec![build::exit()], calls: &[] },
            Part { section: ".text", name: "inner", code: vec![call, build::exit()], calls: &[(0, panic)] },
            Part { section: ".text", name: "outer", code: vec![call, build::exit()], calls: &[(0, "inner")] },
            Part {
                section: "classifier",
                name: "program",
                code: vec![call, build::exit()],
                calls: &[(0, "outer")],
            },
        ]);
        assert!(report.faults.contains(&Fault::Panic { function: panic.to_owned() }));
    }

    #[test]
    fn a_panic_that_nothing_calls_is_no_fault() {
        let report = only_report(&[
            Part { section: ".text", name: "rust_begin_unwind", code: vec![build::jump(-1)], calls: &[] },
            Part { section: "classifier", name: "program", code: vec![build::exit()], calls: &[] },
        ]);
        assert!(report.faults.is_empty(), "{:?}", report.faults);
    }

    #[test]
    fn an_inlined_panic_handler_is_a_fault_though_no_symbol_names_it() {
        let code = vec![build::branch(1), build::exit(), build::jump(-1)];
        let report = only_report(&[Part { section: "classifier", name: "program", code, calls: &[] }]);
        let wanted = Fault::Endless { function: "program".to_owned(), slot: 2 };
        assert_eq!(report.faults.into_iter().collect::<Vec<_>>(), [wanted]);
    }

    #[test]
    fn a_trap_of_the_compiler_is_a_fault() {
        let report = only_report(&[Part {
            section: "cgroup/connect4",
            name: "connect4",
            code: vec![build::function_call(-1), build::exit()],
            calls: &[(0, "__bpf_trap")],
        }]);
        assert!(report.faults.contains(&Fault::Trap { function: "connect4".to_owned() }));
    }

    #[test]
    fn a_stack_of_more_than_512_bytes_along_a_chain_of_calls_is_a_fault() {
        let call = build::function_call(-1);
        let report = only_report(&[
            Part { section: ".text", name: "sub", code: vec![build::spill(-256), build::exit()], calls: &[] },
            Part {
                section: "classifier",
                name: "program",
                code: vec![build::spill(-264), call, build::exit()],
                calls: &[(1, "sub")],
            },
        ]);
        assert!(report.faults.contains(&Fault::Stack(Some(288 + 256))));
    }
}
