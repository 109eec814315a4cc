//! eBPF instructions, as far as the inspection needs them (RFC 9669).

/// Bytes of one slot; the one wide instruction takes two.
pub(crate) const SLOT: usize = 8;

/// The frame pointer.
pub(crate) const R10: u8 = 10;

const CLASS: u8 = 0x07;
const CLASS_LDX: u8 = 0x01;
const CLASS_ST: u8 = 0x02;
const CLASS_STX: u8 = 0x03;
const CLASS_JMP: u8 = 0x05;
const CLASS_JMP32: u8 = 0x06;

/// `dst = imm64`, in two slots.
const LOAD_IMM64: u8 = 0x18;
const MOVE64_REGISTER: u8 = 0xbf;
const ADD64_IMMEDIATE: u8 = 0x07;
const JUMP: u8 = 0x05;
/// An unconditional jump whose distance is in `imm`.
const JUMP_LONG: u8 = 0x06;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;

/// `src` of a call to another function of the same program, not to a helper of the kernel.
const PSEUDO_CALL: u8 = 1;

/// One slot of a program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Instruction {
    pub(crate) code: u8,
    pub(crate) dst: u8,
    pub(crate) src: u8,
    pub(crate) offset: i16,
    pub(crate) imm: i32,
}

/// Where control can go after an instruction: distances in slots, from the next slot on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// To the next instruction; `wide` takes two slots.
    Next { wide: bool },
    /// Always to there.
    Jump(i64),
    /// To there, or to the next instruction.
    Branch(i64),
    /// Back to the caller.
    Exit,
}

impl Instruction {
    /// Decodes a little-endian slot.
    pub(crate) fn decode(slot: [u8; SLOT]) -> Self {
        let [code, registers, o0, o1, i0, i1, i2, i3] = slot;
        Self {
            code,
            dst: registers & 0x0f,
            src: registers >> 4,
            offset: i16::from_le_bytes([o0, o1]),
            imm: i32::from_le_bytes([i0, i1, i2, i3]),
        }
    }

    pub(crate) fn flow(self) -> Flow {
        match self.code {
            LOAD_IMM64 => Flow::Next { wide: true },
            JUMP => Flow::Jump(self.offset.into()),
            JUMP_LONG => Flow::Jump(self.imm.into()),
            CALL => Flow::Next { wide: false },
            EXIT => Flow::Exit,
            code if matches!(code & CLASS, CLASS_JMP | CLASS_JMP32) => Flow::Branch(self.offset.into()),
            _ => Flow::Next { wide: false },
        }
    }

    /// Whether this calls a function of the object, or one that the kernel exports (not a helper).
    pub(crate) fn is_function_call(self) -> bool {
        self.code == CALL && self.src == PSEUDO_CALL
    }

    /// Whether this loads a 64-bit immediate: also a function's address, for a callback.
    pub(crate) fn is_wide_load(self) -> bool {
        self.code == LOAD_IMM64
    }

    /// The offset from the frame pointer that this loads from or stores to.
    pub(crate) fn frame_access(self) -> Option<i64> {
        let base = match self.code & CLASS {
            CLASS_LDX => self.src,
            CLASS_ST | CLASS_STX => self.dst,
            _ => return None,
        };
        (base == R10).then_some(self.offset.into())
    }

    /// The register that becomes a copy of the frame pointer.
    pub(crate) fn copies_frame_pointer(self) -> Option<u8> {
        (self.code == MOVE64_REGISTER && self.src == R10 && self.offset == 0).then_some(self.dst)
    }

    /// The register and the constant that is added to it.
    pub(crate) fn adds_constant(self) -> Option<(u8, i64)> {
        (self.code == ADD64_IMMEDIATE).then_some((self.dst, self.imm.into()))
    }
}

/// Instructions as tests write them.
#[cfg(test)]
pub(crate) mod build {
    use super::{
        ADD64_IMMEDIATE, CALL, EXIT, Instruction, JUMP, LOAD_IMM64, MOVE64_REGISTER, PSEUDO_CALL, R10,
    };

    pub(crate) fn exit() -> Instruction {
        Instruction { code: EXIT, ..Instruction::default() }
    }
    pub(crate) fn jump(offset: i16) -> Instruction {
        Instruction { code: JUMP, offset, ..Instruction::default() }
    }
    /// `if r1 == 0`.
    pub(crate) fn branch(offset: i16) -> Instruction {
        Instruction { code: 0x15, dst: 1, offset, ..Instruction::default() }
    }
    /// `*(u64 *)(r10 + offset) = r1`.
    pub(crate) fn spill(offset: i16) -> Instruction {
        Instruction { code: 0x7b, dst: R10, src: 1, offset, ..Instruction::default() }
    }
    /// `*(u64 *)(r1 + offset) = r2`.
    pub(crate) fn store(offset: i16) -> Instruction {
        Instruction { code: 0x7b, dst: 1, src: 2, offset, ..Instruction::default() }
    }
    /// `r2 = r10; r2 += offset`.
    pub(crate) fn frame_address(offset: i32) -> [Instruction; 2] {
        [
            Instruction { code: MOVE64_REGISTER, dst: 2, src: R10, ..Instruction::default() },
            Instruction { code: ADD64_IMMEDIATE, dst: 2, imm: offset, ..Instruction::default() },
        ]
    }
    pub(crate) fn helper_call(id: i32) -> Instruction {
        Instruction { code: CALL, imm: id, ..Instruction::default() }
    }
    /// Before relocation: the distance is in the relocation's symbol, plus `imm + 1` slots.
    pub(crate) fn function_call(imm: i32) -> Instruction {
        Instruction { code: CALL, src: PSEUDO_CALL, imm, ..Instruction::default() }
    }
    pub(crate) fn wide_load() -> [Instruction; 2] {
        [Instruction { code: LOAD_IMM64, dst: 1, ..Instruction::default() }, Instruction::default()]
    }
    pub(crate) fn encode(instructions: &[Instruction]) -> Vec<u8> {
        let slot = |i: &Instruction| {
            let mut bytes = vec![i.code, i.src << 4 | i.dst];
            bytes.extend(i.offset.to_le_bytes());
            bytes.extend(i.imm.to_le_bytes());
            bytes
        };
        instructions.iter().flat_map(slot).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Flow, Instruction, build};

    #[test]
    fn a_decoded_slot_is_what_was_encoded() {
        let wanted = build::spill(-120);
        let bytes = build::encode(&[wanted]);
        assert_eq!(bytes.try_into().map(Instruction::decode), Ok(wanted));
    }

    #[test]
    fn control_flow_is_told_from_the_code() {
        assert_eq!(build::jump(-1).flow(), Flow::Jump(-1));
        assert_eq!(build::branch(3).flow(), Flow::Branch(3));
        assert_eq!(build::exit().flow(), Flow::Exit);
        assert_eq!(build::helper_call(1).flow(), Flow::Next { wide: false });
        assert_eq!(build::wide_load()[0].flow(), Flow::Next { wide: true });
        let long = Instruction { code: super::JUMP_LONG, imm: 70_000, ..Instruction::default() };
        assert_eq!(long.flow(), Flow::Jump(70_000));
    }
}
