//! Where programs are attached. A hook's name is also its program's.

use std::fmt;

use crate::sys::attach_types;

/// A place in the kernel that runs one of our programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// connect(2) of IPv4 sockets.
    Connect4,
    /// connect(2) of IPv6 sockets.
    Connect6,
    /// sendmsg(2) of IPv4 UDP sockets.
    Sendmsg4,
    /// sendmsg(2) of IPv6 UDP sockets.
    Sendmsg6,
    /// recvmsg(2) of IPv4 UDP sockets.
    Recvmsg4,
    /// recvmsg(2) of IPv6 UDP sockets.
    Recvmsg6,
    /// getpeername(2) of IPv4 sockets.
    Getpeername4,
    /// getpeername(2) of IPv6 sockets.
    Getpeername6,
    /// What a pod sends, as its host-side veth receives it.
    PodIngress,
    /// What a pod is sent, as its host-side veth sends it.
    PodEgress,
    /// What the node receives.
    UplinkIngress,
    /// What the node sends.
    UplinkEgress,
}

/// Which way packets go through a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The device receives.
    Ingress,
    /// The device sends.
    Egress,
}

impl Hook {
    /// The hooks of sockets, in the order in which they are attached: the way back before the way there, so that no
    /// answer comes from an address that was not asked.
    pub const SOCKET: [Self; 8] = [
        Self::Getpeername4,
        Self::Getpeername6,
        Self::Recvmsg4,
        Self::Recvmsg6,
        Self::Connect4,
        Self::Connect6,
        Self::Sendmsg4,
        Self::Sendmsg6,
    ];

    /// Those among them that change where a socket sends that is open already, the last ones of [`Self::SOCKET`].
    pub const OPEN_SOCKET: [Self; 2] = [Self::Sendmsg4, Self::Sendmsg6];

    /// The hooks of a pod's device, the way back first.
    pub const POD: [Self; 2] = [Self::PodEgress, Self::PodIngress];

    /// The hooks of an uplink, the way back first.
    pub const UPLINK: [Self; 2] = [Self::UplinkIngress, Self::UplinkEgress];

    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::SOCKET.into_iter().chain(Self::POD).chain(Self::UPLINK)
    }

    /// The hook of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::all().find(|hook| hook.name() == name)
    }

    /// Its name, which is also its program's.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect4 => "connect4",
            Self::Connect6 => "connect6",
            Self::Sendmsg4 => "sendmsg4",
            Self::Sendmsg6 => "sendmsg6",
            Self::Recvmsg4 => "recvmsg4",
            Self::Recvmsg6 => "recvmsg6",
            Self::Getpeername4 => "getpeername4",
            Self::Getpeername6 => "getpeername6",
            Self::PodIngress => "pod_ingress",
            Self::PodEgress => "pod_egress",
            Self::UplinkIngress => "uplink_ingress",
            Self::UplinkEgress => "uplink_egress",
        }
    }

    /// For a hook of devices, which way; `None` for a hook of sockets.
    #[must_use]
    pub const fn direction(self) -> Option<Direction> {
        match self {
            Self::PodIngress | Self::UplinkIngress => Some(Direction::Ingress),
            Self::PodEgress | Self::UplinkEgress => Some(Direction::Egress),
            _ => None,
        }
    }

    /// `enum bpf_attach_type`; for devices that of TCX.
    pub(crate) const fn attach_type(self) -> u32 {
        match self {
            Self::Connect4 => attach_types::CONNECT4,
            Self::Connect6 => attach_types::CONNECT6,
            Self::Sendmsg4 => attach_types::SENDMSG4,
            Self::Sendmsg6 => attach_types::SENDMSG6,
            Self::Recvmsg4 => attach_types::RECVMSG4,
            Self::Recvmsg6 => attach_types::RECVMSG6,
            Self::Getpeername4 => attach_types::GETPEERNAME4,
            Self::Getpeername6 => attach_types::GETPEERNAME6,
            Self::PodIngress | Self::UplinkIngress => attach_types::TCX_INGRESS,
            Self::PodEgress | Self::UplinkEgress => attach_types::TCX_EGRESS,
        }
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
