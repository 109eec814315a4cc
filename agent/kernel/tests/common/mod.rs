//! A place of its own for each test: a network namespace, a bpffs and, where asked for, a cgroup; gone when the test ends.
#![expect(unsafe_code, reason = "unshare(2) and mount(2) have no safe form")]
#![expect(dead_code, reason = "each test binary uses its part")]

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use penstock_kernel::attach::DeviceMode;
use penstock_kernel::sys::{Map, MapSpec, Program, kinds, program_kinds};
use penstock_kernel::{Hook, Pins, Programs};

/// Where a test runs.
pub(crate) struct Sandbox {
    pub(crate) pins: Pins,
    folder: tempfile::TempDir,
}

impl Sandbox {
    /// A folder for whatever is not a pin.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Sandbox {
    /// Before the folder below it is removed, whether the test has passed or not.
    fn drop(&mut self) {
        let root = std::ffi::CString::new(self.pins.root().to_str().unwrap()).unwrap();
        // SAFETY: the path ends with a zero byte.
        unsafe { libc::umount2(root.as_ptr(), libc::MNT_DETACH) };
    }
}

/// Runs a test on a thread that has a network and mount namespace of its own.
///
/// Without root rights the test is skipped, and says so; where the environment variable `CI` is set it fails instead.
pub(crate) fn sandbox(test: impl FnOnce(&Sandbox) + Send + 'static) {
    let outcome = thread::spawn(|| {
        // SAFETY: the call takes no pointer; it concerns this thread alone.
        if unsafe { libc::unshare(libc::CLONE_NEWNET | libc::CLONE_NEWNS) } != 0 {
            return Err(format!("unshare: {}", std::io::Error::last_os_error()));
        }
        // SAFETY: both strings end with a zero byte; the other pointers may be null for a change of propagation.
        let private = unsafe {
            let flags = libc::MS_REC | libc::MS_PRIVATE;
            libc::mount(std::ptr::null(), c"/".as_ptr(), std::ptr::null(), flags, std::ptr::null())
        };
        assert_eq!(private, 0, "mount: {}", std::io::Error::last_os_error());
        let folder = tempfile::Builder::new().prefix("pst-").tempdir().unwrap();
        let pins = Pins::new(folder.path().join("bpf"));
        pins.prepare().unwrap();
        let sandbox = Sandbox { pins, folder };
        test(&sandbox);
        Ok(())
    })
    .join();
    match outcome {
        Ok(Ok(())) => {}
        Ok(Err(reason)) => skip(&reason),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// As [`sandbox`], for what waits for netlink.
pub(crate) fn async_sandbox(test: impl AsyncFnOnce(&Sandbox) + Send + 'static) {
    sandbox(|sandbox| block_on(test(sandbox)));
}

/// As [`async_sandbox`], for what Linux 6.6 brought: an older kernel passes it by, and says so.
pub(crate) fn sandbox_with_tcx(test: impl AsyncFnOnce(&Sandbox) + Send + 'static) {
    sandbox(|sandbox| {
        if has_tcx() {
            block_on(test(sandbox));
        } else {
            eprintln!("not for this kernel: TCX came with Linux 6.6");
        }
    });
}

/// Waits on this thread, and so in its network namespace.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Whether this kernel is 6.6 or later, by what it can do.
pub(crate) fn has_tcx() -> bool {
    penstock_kernel::features::check().unwrap().tcx
}

/// The ways to attach to devices that this kernel has.
pub(crate) fn device_modes() -> Vec<DeviceMode> {
    if has_tcx() { vec![DeviceMode::Tcx, DeviceMode::Clsact] } else { vec![DeviceMode::Clsact] }
}

/// Ends a test that cannot run here: by a failure where `CI` is set.
pub(crate) fn skip(reason: &str) {
    assert!(std::env::var_os("CI").is_none(), "this test cannot run: {reason}");
    eprintln!("skipped: {reason}");
}

/// Takes capabilities from this thread, by their numbers (capabilities(7)).
pub(crate) fn drop_capabilities(numbers: &[u32]) {
    let mut header = [0x2008_0522_u32, 0];
    // Effective, permitted and inheritable, twice 32 of them.
    let mut sets = [0_u32; 6];
    // SAFETY: version 3 of the call reads a header of two words and writes six.
    let read = unsafe { libc::syscall(libc::SYS_capget, header.as_mut_ptr(), sets.as_mut_ptr()) };
    assert_eq!(read, 0);
    for number in numbers {
        let word = if *number < 32 { 0 } else { 3 };
        sets[word] &= !(1 << (number % 32));
    }
    // SAFETY: version 3 of the call reads a header of two words and six more.
    let written = unsafe { libc::syscall(libc::SYS_capset, header.as_mut_ptr(), sets.as_ptr()) };
    assert_eq!(written, 0, "capset: {}", std::io::Error::last_os_error());
}

/// Runs ip(8) in the namespace of this thread.
pub(crate) fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split_whitespace()).status().expect("ip is installed");
    assert!(status.success(), "ip {arguments}");
}

/// What tc(8) or ip(8) prints.
pub(crate) fn output(command: &str) -> String {
    let mut words = command.split_whitespace();
    let output = Command::new(words.next().unwrap()).args(words).output().expect("iproute2 is installed");
    String::from_utf8(output.stdout).unwrap()
}

/// Makes a pair of devices, both up, and gives the index of the first.
pub(crate) fn veth(name: &str, peer: &str) -> u32 {
    ip(&format!("link add {name} type veth peer name {peer}"));
    ip(&format!("link set {name} up"));
    ip(&format!("link set {peer} up"));
    ifindex(name)
}

/// A device's index, from the namespace of this thread.
pub(crate) fn ifindex(name: &str) -> u32 {
    let text = output(&format!("ip -o link show dev {name}"));
    text.split(':').next().unwrap().trim().parse().unwrap()
}

/// A map named as one of ours.
pub(crate) fn map(name: &str, kind: u32, value_size: u32, max_entries: u32, flags: u32) -> Map {
    let key_size = if kind == kinds::RINGBUF { 0 } else { 4 };
    let spec = MapSpec { name: name.to_owned(), kind, key_size, value_size, max_entries, flags };
    Map::create(&spec, None).unwrap()
}

/// A program for each hook that uses a map of ours and otherwise only returns what lets everything pass.
pub(crate) fn programs() -> Programs {
    let services = map("services", kinds::ARRAY, 8, 1, 0);
    let programs = Hook::all().map(|hook| (hook, program(hook, hook.name(), &services)));
    Programs::from_parts(programs.collect::<BTreeMap<_, _>>())
}

/// One instruction: opcode, registers (source, then target, a half byte each), offset and value.
fn instruction(opcode: u8, registers: u8, offset: i16, value: i32) -> u64 {
    let ([low, high], [a, b, c, d]) = (offset.to_le_bytes(), value.to_le_bytes());
    u64::from_le_bytes([opcode, registers, low, high, a, b, c, d])
}

/// r1 = a map (BPF_LD | BPF_IMM | BPF_DW with BPF_PSEUDO_MAP_FD, two instructions long).
fn load_map(map: &Map) -> [u64; 2] {
    [instruction(0x18, 0x11, 0, map.as_fd().as_raw_fd()), 0]
}

/// A program of this name, for a hook, that names a map.
pub(crate) fn program(hook: Hook, name: &str, map: &Map) -> Program {
    let socket = hook.direction().is_none();
    let kind = if socket { program_kinds::CGROUP_SOCK_ADDR } else { program_kinds::SCHED_CLS };
    let [load, rest] = load_map(map);
    // r0 = 1, what lets a socket's call pass, or TC_ACT_UNSPEC, what lets a packet pass; exit
    let verdict = instruction(0xb7, 0, 0, if socket { 1 } else { -1 });
    let instructions = [load, rest, verdict, instruction(0x95, 0, 0, 0)];
    let attach_type = if socket { attach_type(hook) } else { 0 };
    Program::load(name, kind, attach_type, &instructions).unwrap()
}

/// A program that writes one record of eight bytes to a ring.
pub(crate) fn ring_writer(ring: &Map, value: i32) -> Program {
    let [load, rest] = load_map(ring);
    let instructions = [
        // *(u64 *)(r10 - 8) = value; r2 = r10 - 8
        instruction(0x7a, 0x0a, -8, value),
        instruction(0xbf, 0xa2, 0, 0),
        instruction(0x07, 0x02, 0, -8),
        load,
        rest,
        // r3 = 8; r4 = 0; bpf_ringbuf_output(r1, r2, r3, r4); r0 = 0; exit
        instruction(0xb7, 0x03, 0, 8),
        instruction(0xb7, 0x04, 0, 0),
        instruction(0x85, 0, 0, 130),
        instruction(0xb7, 0, 0, 0),
        instruction(0x95, 0, 0, 0),
    ];
    Program::load("ring_writer", program_kinds::SCHED_CLS, 0, &instructions).unwrap()
}

/// `enum bpf_attach_type` of a hook.
pub(crate) fn attach_type(hook: Hook) -> u32 {
    use penstock_kernel::sys::attach_types as at;
    match hook {
        Hook::Connect4 => at::CONNECT4,
        Hook::Connect6 => at::CONNECT6,
        Hook::Sendmsg4 => at::SENDMSG4,
        Hook::Sendmsg6 => at::SENDMSG6,
        Hook::Recvmsg4 => at::RECVMSG4,
        Hook::Recvmsg6 => at::RECVMSG6,
        Hook::Getpeername4 => at::GETPEERNAME4,
        Hook::Getpeername6 => at::GETPEERNAME6,
        Hook::PodIngress | Hook::UplinkIngress => at::TCX_INGRESS,
        Hook::PodEgress | Hook::UplinkEgress => at::TCX_EGRESS,
    }
}

/// A cgroup of its own, below the cgroup2 tree, with nobody in it.
pub(crate) struct Cgroup {
    pub(crate) path: PathBuf,
}

impl Cgroup {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let tree = mounts
            .lines()
            .map(|line| line.split(' ').collect::<Vec<_>>())
            .find(|fields| fields.get(2) == Some(&"cgroup2"))
            .expect("a cgroup2 tree is mounted");
        let name = format!("pst-kernel-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let path = Path::new(tree[1]).join(name);
        fs::create_dir(&path).unwrap();
        Self { path }
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // It may have been removed by the test.
        let _ = fs::remove_dir(&self.path);
    }
}

/// The eBPF object under test: the file that `PENSTOCK_BPF_OBJECT` names, or what the build carries.
pub(crate) fn object() -> Option<Vec<u8>> {
    match std::env::var_os("PENSTOCK_BPF_OBJECT") {
        Some(path) => Some(fs::read(path).expect("PENSTOCK_BPF_OBJECT names a file")),
        None => match penstock_kernel::object::bytes() {
            Ok(object) => Some(object.to_vec()),
            Err(error) => {
                skip(&error.to_string());
                None
            }
        },
    }
}
