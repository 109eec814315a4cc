//! A packet in the kernel's socket buffer.
#![expect(unsafe_code, reason = "packet bytes are reached through pointers that the verifier checks")]

use aya_ebpf::bindings::{__sk_buff, BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR};
use aya_ebpf::helpers::generated::{bpf_l4_csum_replace, bpf_skb_change_tail, bpf_skb_pull_data};
use aya_ebpf::programs::TcContext;
use penstock_abi::Plain;
use penstock_datapath::{L4Change, Packet};

/// `BPF_F_IPV6` (kernel 6.16 and stable releases of 2025): the pseudo header is IPv6's, so a checksum over the whole
/// packet (CHECKSUM_COMPLETE) does not change. aya's bindings are older than the flag.
const BPF_F_IPV6: u64 = 1 << 7;

/// A packet at a TC hook.
pub(crate) struct Skb(TcContext);

impl Skb {
    pub(crate) fn new(ctx: TcContext) -> Self {
        Self(ctx)
    }

    /// What the log's macros want.
    #[cfg(feature = "log")]
    pub(crate) fn context(&self) -> &TcContext {
        &self.0
    }

    #[inline(always)]
    fn raw(&self) -> *mut __sk_buff {
        self.0.skb.skb
    }

    /// EtherType of the packet, in the machine's own byte order.
    #[inline(always)]
    pub(crate) fn ethertype(&self) -> u16 {
        // SAFETY: the context is valid for the program's run; the verifier turns this into a load of the buffer's field.
        u16::from_be(unsafe { (*self.raw()).protocol } as u16)
    }

    /// A pointer to `size` bytes at `offset`, where all of them may be reached.
    ///
    /// A network header lies 14 bytes into the packet, so its words are not aligned as Rust would have them. On this target
    /// alignment only tells LLVM how wide an access may be, and a word in four accesses of a byte would cost more than
    /// all else that is done with it. The kernel allows the wide access wherever the machine does, and its verifier
    /// refuses the program where the machine does not.
    #[inline(always)]
    fn at(&self, offset: usize, size: usize) -> Option<*mut u8> {
        let start = self.0.data() + offset;
        if start + size > self.0.data_end() { None } else { Some(start as *mut u8) }
    }
}

impl Packet for Skb {
    #[inline(always)]
    fn ifindex(&self) -> u32 {
        // SAFETY: as in `ethertype`.
        unsafe { (*self.raw()).ifindex }
    }

    #[inline(always)]
    fn len(&self) -> u32 {
        self.0.len()
    }

    #[inline(always)]
    fn is_segmented(&self) -> bool {
        // SAFETY: as in `ethertype` (the field is there since kernel 5.7).
        unsafe { (*self.raw()).gso_size != 0 }
    }

    #[inline(always)]
    fn pull(&mut self, len: usize) -> Option<()> {
        if self.at(0, len).is_some() {
            return Some(());
        }
        // SAFETY: the helper moves bytes from pages into the head; every pointer is taken anew afterwards.
        match unsafe { bpf_skb_pull_data(self.raw(), len as u32) } {
            0 => Some(()),
            _ => None,
        }
    }

    #[inline(always)]
    fn load<T: Plain>(&self, offset: usize) -> Option<T> {
        let start = self.at(offset, size_of::<T>())?;
        // SAFETY: `at` has compared the end; every bit pattern is a `Plain` value. See `at` for the alignment.
        Some(unsafe { start.cast::<T>().read() })
    }

    #[inline(always)]
    fn store<T: Plain>(&mut self, offset: usize, value: T) -> Option<()> {
        let start = self.at(offset, size_of::<T>())?;
        // SAFETY: `at` has compared the end; the kernel has made the head of a shared buffer our own (the verifier asks
        // for that in the prologue of each program that stores). See `at` for the alignment.
        unsafe { start.cast::<T>().write(value) };
        Some(())
    }

    #[inline(always)]
    fn resize(&mut self, len: usize) -> Option<()> {
        // SAFETY: the helper moves bytes; every pointer is taken anew afterwards.
        match unsafe { bpf_skb_change_tail(self.raw(), len as u32, 0) } {
            0 => self.pull(len),
            _ => None,
        }
    }

    #[inline(always)]
    fn change_checksum(&mut self, change: &L4Change) -> Option<()> {
        let mangled = if change.is_udp { u64::from(BPF_F_MARK_MANGLED_0) } else { 0 };
        let pseudo = mangled | u64::from(BPF_F_PSEUDO_HDR);
        // What the field holds depends on who completes it: the helper knows. While a device is still to do so, it holds
        // the pseudo header's sum alone, so the two parts of the change are told apart.
        let replace = |difference: u32, flags: u64| {
            // SAFETY: the helper checks the offset; every pointer is taken anew afterwards.
            unsafe { bpf_l4_csum_replace(self.raw(), change.offset as u32, 0, u64::from(difference), flags) }
        };
        let difference = change.pseudo.difference();
        let done = if change.is_v6 {
            // An older kernel refuses the flag without having touched anything.
            match replace(difference, pseudo | BPF_F_IPV6) {
                0 => 0,
                _ => replace(difference, pseudo),
            }
        } else {
            replace(difference, pseudo)
        };
        if done != 0 || replace(change.header.difference(), mangled) != 0 {
            return None;
        }
        Some(())
    }
}
