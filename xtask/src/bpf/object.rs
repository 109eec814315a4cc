//! The functions of an eBPF object and who calls whom.
//!
//! As bpf-linker lays it out: each program is a global function in a section named after its hook; subprograms are in
//! `.text` (and `.text.*`) and calls to them are relocations.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use object::elf::STB_LOCAL;
use object::{
    Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget, SectionIndex, SectionKind,
    SymbolFlags, SymbolKind,
};

use super::instruction::{Instruction, SLOT};

/// One function of the object.
#[derive(Clone, Debug, Default)]
pub(crate) struct Function {
    pub(crate) name: String,
    /// The section's name: for a program, its hook.
    pub(crate) section: String,
    /// Whether the kernel runs it by itself, not only as a callee.
    pub(crate) is_program: bool,
    pub(crate) instructions: Vec<Instruction>,
    pub(crate) calls: Vec<Callee>,
}

/// What a function calls, or hands to the kernel as a callback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Callee {
    /// A function of the object, by its index.
    Function(usize),
    /// A name that the object does not hold.
    External(String),
}

/// Where a function starts: its section and the byte within.
type Place = (usize, u64);

/// Reads the functions of an ELF object.
pub(crate) fn functions(elf: &[u8]) -> Result<Vec<Function>> {
    let file = object::File::parse(elf).context("this is no ELF object")?;
    let mut functions = Vec::new();
    let mut places = BTreeMap::new();
    let mut index_of: BTreeMap<Place, usize> = BTreeMap::new();
    for symbol in file.symbols() {
        let (SymbolKind::Text, Some(section)) = (symbol.kind(), symbol.section_index()) else { continue };
        let section = file.section_by_index(section)?;
        let name = symbol.name()?.to_owned();
        if section.kind() != SectionKind::Text || name.is_empty() {
            continue;
        }
        let code = section
            .data_range(symbol.address(), symbol.size())?
            .with_context(|| format!("function {name} lies outside of its section"))?;
        let (slots, rest) = code.as_chunks::<SLOT>();
        if !rest.is_empty() {
            bail!("function {name} is {} bytes long, no multiple of {SLOT}", code.len());
        }
        let section_name = section.name()?.to_owned();
        let is_local =
            matches!(symbol.flags(), SymbolFlags::Elf { st_info, .. } if st_info >> 4 == STB_LOCAL);
        let place = (section.index().0, symbol.address());
        index_of.insert(place, functions.len());
        places.insert(functions.len(), place);
        functions.push(Function {
            is_program: !is_local && !section_name.starts_with(".text"),
            name,
            section: section_name,
            instructions: slots.iter().copied().map(Instruction::decode).collect(),
            calls: Vec::new(),
        });
    }
    for (index, function) in functions.iter_mut().enumerate() {
        if let Some(&place) = places.get(&index) {
            function.calls = calls(&file, place, &function.instructions, &index_of)
                .with_context(|| format!("function {}", function.name))?;
        }
    }
    Ok(functions)
}

/// The callees of the function at `place`.
fn calls(
    file: &object::File<'_>,
    (section, start): Place,
    instructions: &[Instruction],
    index_of: &BTreeMap<Place, usize>,
) -> Result<Vec<Callee>> {
    let relocations: BTreeMap<u64, _> = file.section_by_index(SectionIndex(section))?.relocations().collect();
    let mut callees = Vec::new();
    for (instruction, at) in instructions.iter().zip((start..).step_by(SLOT)) {
        let is_call = instruction.is_function_call();
        if !is_call && !instruction.is_wide_load() {
            continue;
        }
        // A call's immediate counts slots from the next instruction, so a bare reference to a symbol holds -1.
        let in_slots = (i64::from(instruction.imm) + 1) * SLOT as i64;
        let target = match relocations.get(&at).map(object::Relocation::target) {
            Some(RelocationTarget::Symbol(symbol)) => {
                let symbol = file.symbol_by_index(symbol)?;
                let Some(target) = symbol.section_index() else {
                    if is_call {
                        callees.push(Callee::External(symbol.name()?.to_owned()));
                    }
                    continue;
                };
                let addend = if is_call { in_slots } else { instruction.imm.into() };
                (target.0, symbol.address().checked_add_signed(addend))
            }
            None if is_call => (section, at.checked_add_signed(in_slots)),
            _ => continue,
        };
        let found = target.1.and_then(|address| index_of.get(&(target.0, address)));
        match found {
            Some(&callee) => callees.push(Callee::Function(callee)),
            // A wide load of a map's or a variable's address.
            None if !is_call => {}
            None => bail!("the call at byte {at} goes to no function"),
        }
    }
    Ok(callees)
}

#[cfg(test)]
pub(crate) mod tests {
    use object::write::{Object, Relocation, Symbol, SymbolSection};
    use object::{
        Architecture, BinaryFormat, Endianness, RelocationFlags, SectionKind, SymbolFlags, SymbolKind,
        SymbolScope,
    };

    use super::{Callee, functions};
    use crate::bpf::instruction::{Instruction, build};

    /// R_BPF_64_32: a call.
    const CALL_RELOCATION: u32 = 10;

    /// A function of a hand-made object: section, name, code, and the calls in it (slot, callee's name).
    pub(crate) struct Part<'a> {
        pub(crate) section: &'a str,
        pub(crate) name: &'a str,
        pub(crate) code: Vec<Instruction>,
        pub(crate) calls: &'a [(u64, &'a str)],
    }

    pub(crate) fn elf(parts: &[Part<'_>]) -> Vec<u8> {
        let mut object = Object::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little);
        let mut placed = Vec::new();
        for part in parts {
            let section = object.add_section(Vec::new(), part.section.into(), SectionKind::Text);
            let value = object.append_section_data(section, &build::encode(&part.code), 8);
            let symbol = object.add_symbol(Symbol {
                name: part.name.into(),
                value,
                size: part.code.len() as u64 * 8,
                kind: SymbolKind::Text,
                scope: if part.section == ".text" { SymbolScope::Compilation } else { SymbolScope::Dynamic },
                weak: false,
                section: SymbolSection::Section(section),
                flags: SymbolFlags::None,
            });
            placed.push((section, value, symbol));
        }
        for (part, &(section, value, _)) in parts.iter().zip(&placed) {
            for &(slot, callee) in part.calls {
                let known = parts.iter().position(|other| other.name == callee);
                let symbol = match known.and_then(|index| placed.get(index)) {
                    Some(&(.., symbol)) => symbol,
                    None => object.add_symbol(Symbol {
                        name: callee.into(),
                        value: 0,
                        size: 0,
                        kind: SymbolKind::Unknown,
                        scope: SymbolScope::Unknown,
                        weak: false,
                        section: SymbolSection::Undefined,
                        flags: SymbolFlags::None,
                    }),
                };
                let flags = RelocationFlags::Elf { r_type: CALL_RELOCATION };
                let offset = value + slot * 8;
                object
                    .add_relocation(section, Relocation { offset, symbol, addend: 0, flags })
                    .expect("a relocation fits");
            }
        }
        object.write().expect("the object can be written")
    }

    #[test]
    fn programs_are_told_from_subprograms_and_calls_are_resolved() {
        let call = build::function_call(-1);
        let object = elf(&[
            Part { section: ".text", name: "sub", code: vec![build::exit()], calls: &[] },
            Part {
                section: "classifier",
                name: "program",
                code: vec![call, call, build::exit()],
                calls: &[(0, "sub"), (1, "__bpf_trap")],
            },
        ]);
        let functions = functions(&object).expect("the object can be read");
        let program = functions.iter().find(|f| f.name == "program").expect("the program is there");
        let sub = functions.iter().position(|f| f.name == "sub").expect("the subprogram is there");
        assert!(program.is_program && !functions[sub].is_program);
        assert_eq!(program.section, "classifier");
        assert_eq!(program.instructions.len(), 3);
        assert_eq!(program.calls, [Callee::Function(sub), Callee::External("__bpf_trap".to_owned())]);
    }

    #[test]
    fn what_is_no_object_is_refused() {
        assert!(functions(b"#!/bin/sh").is_err());
    }
}
