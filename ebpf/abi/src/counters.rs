//! What the programs count.

use core::fmt;

use crate::plain::plain;

/// Value of the per-CPU service counters, by service index. Nothing is counted per packet of a known flow: with many Services
/// that would cost it two more cache misses.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ServiceCount {
    /// Times that a backend was chosen: a connection, or a UDP flow.
    pub flows: u64,
    /// Times that there was no backend to choose: a call that was refused, or a packet that was refused or dropped.
    pub unserved: u64,
}
plain!(ServiceCount, 16: flows: u64, unserved: u64);

/// Value of the per-CPU drop counters, by [`Reason`].
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DropCount {
    /// Packets, or calls that were refused at a socket.
    pub packets: u64,
    /// Bytes of those packets.
    pub bytes: u64,
}
plain!(DropCount, 16: packets: u64, bytes: u64);

macro_rules! codes {
    ($(#[$doc:meta])* $name:ident { $($(#[doc = $text:literal])+ $variant:ident = $code:literal $label:literal,)+ }) => {
        $(#[$doc])*
        #[repr(u8)]
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
        pub enum $name { $($(#[doc = $text])+ $variant = $code,)+ }

        impl $name {
            /// All of them, each at the index of its code.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];
            /// Number of codes: the size of the table that counts them.
            pub const COUNT: u32 = Self::ALL.len() as u32;

            /// The name for metrics and tables.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)+ }
            }

            /// One sentence for people.
            pub const fn description(self) -> &'static str {
                match self { $(Self::$variant => concat!($($text),+).trim_ascii(),)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.label())
            }
        }

        // The code is the index: `ALL` would count under another name otherwise.
        const _: () = {
            let mut index = 0;
            while index < $name::ALL.len() {
                assert!($name::ALL[index] as usize == index, "the codes must be dense, in order, from 0");
                index += 1;
            }
        };
    };
}

codes! {
    /// Why a packet was dropped or refused.
    Reason {
        /// The packet is shorter than its headers say.
        Truncated = 0 "truncated",
        /// The Service has no endpoint anywhere: the client was refused.
        NoEndpoints = 1 "no-endpoints",
        /// The Service has endpoints, but none that its traffic policy may use.
        NoUsableEndpoints = 2 "no-usable-endpoints",
        /// The tables do not fit together: a word, slot or backend leads nowhere.
        BrokenTables = 3 "broken-tables",
        /// No source port is free for a flow from this client to this backend.
        NoSourcePort = 4 "no-source-port",
        /// The flow table took no entry.
        FlowTableFull = 5 "flow-table-full",
        /// The packet could not be rewritten.
        RewriteFailed = 6 "rewrite-failed",
        /// A fragment of a packet to a Service: its ports cannot be known.
        Fragment = 7 "fragment",
    }
}

codes! {
    /// What is counted beside drops.
    Counter {
        /// A flow's other half was missing and was put back.
        FlowHealed = 0 "flow-healed",
        /// A flow named a backend of another generation: never expected, and re-selected.
        StaleBackend = 1 "stale-backend",
        /// An element of a flow table was recycled while it was read.
        FlowRecycled = 2 "flow-recycled",
        /// A UDP flow left a backend that is no longer a member.
        FlowMoved = 3 "flow-moved",
        /// A source port was taken, another was tried.
        PortClash = 4 "port-clash",
        /// The events' ring was full.
        EventLost = 5 "event-lost",
    }
}
