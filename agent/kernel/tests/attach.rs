//! Attaching to devices, both ways, and to cgroups.

mod common;

use std::fs::{self, File};
use std::os::fd::AsFd as _;

use common::{
    Cgroup, async_sandbox, attach_type, device_modes, ifindex, ip, map, output, program, programs, sandbox,
    sandbox_with_tcx, veth,
};
use penstock_kernel::attach::{Attacher, Attachment, Change, DeviceMode, is_ours};
use penstock_kernel::sys::{Link, LinkTarget, Program, QueryTarget, kinds, query};
use penstock_kernel::{Error, Hook, Programs};

/// The programs on a device's TCX hook, and their links.
fn tcx(hook: Hook, ifindex: u32) -> Vec<(u32, u32)> {
    query(QueryTarget::Device(ifindex), attach_type(hook)).unwrap()
}

fn in_cgroup(hook: Hook, cgroup: &Cgroup) -> Vec<u32> {
    let folder = File::open(&cgroup.path).unwrap();
    query(QueryTarget::Cgroup(folder.as_fd()), attach_type(hook)).unwrap().iter().map(|(id, _)| *id).collect()
}

fn id(programs: &Programs, hook: Hook) -> u32 {
    programs.get(hook).unwrap().info().unwrap().id
}

#[test]
fn a_tcx_program_outlives_who_attached_it_and_is_replaced_through_its_link() {
    sandbox_with_tcx(async |sandbox| {
        let device = veth("pst-a", "pst-b");
        let hook = Hook::PodIngress;
        {
            let first = programs();
            let attacher = Attacher::new(&sandbox.pins, DeviceMode::Tcx);
            assert_eq!(attacher.attach_device(&first, hook, device).await.unwrap(), Change::Attached);
        }
        let [(before, link)] = tcx(hook, device)[..] else { panic!("one program stays attached") };

        let second = programs();
        let attacher = Attacher::new(&sandbox.pins, DeviceMode::Tcx);
        assert_eq!(attacher.attach_device(&second, hook, device).await.unwrap(), Change::Replaced);
        assert_eq!(tcx(hook, device), [(id(&second, hook), link)]);
        assert_ne!(before, id(&second, hook));

        let attachment = Attachment { hook, ifindex: Some(device), alive: true };
        assert_eq!(attacher.attached().await.unwrap(), [attachment]);
        attacher.detach_device(hook, device).await.unwrap();
        assert_eq!(tcx(hook, device), []);
        assert_eq!(attacher.attached().await.unwrap(), []);
        attacher.detach_device(hook, device).await.unwrap();
    });
}

#[test]
fn a_device_that_comes_back_under_the_same_index_gets_a_new_link() {
    sandbox_with_tcx(async |sandbox| {
        let programs = programs();
        let attacher = Attacher::new(&sandbox.pins, DeviceMode::Tcx);
        ip("link add pst-a index 77 type veth peer name pst-b");
        attacher.attach_device(&programs, Hook::PodEgress, 77).await.unwrap();
        ip("link delete pst-a");
        let dead = Attachment { hook: Hook::PodEgress, ifindex: Some(77), alive: false };
        assert_eq!(attacher.attached().await.unwrap(), [dead]);

        ip("link add pst-c index 77 type veth peer name pst-d");
        assert_eq!(ifindex("pst-c"), 77);
        let change = attacher.attach_device(&programs, Hook::PodEgress, 77).await.unwrap();
        assert_eq!(change, Change::Attached);
        assert_eq!(tcx(Hook::PodEgress, 77).len(), 1);
    });
}

#[test]
fn a_device_that_is_gone_is_an_error_to_attach_to_and_none_to_detach_from() {
    async_sandbox(async |sandbox| {
        for mode in device_modes() {
            let programs = programs();
            let attacher = Attacher::new(&sandbox.pins, mode);
            let device = veth("pst-a", "pst-b");
            attacher.attach_device(&programs, Hook::PodIngress, device).await.unwrap();
            ip("link delete pst-a");
            let error = attacher.attach_device(&programs, Hook::PodIngress, device).await.unwrap_err();
            assert!(matches!(error, Error::NoDevice { ifindex } if ifindex == device), "{mode:?}: {error}");
            attacher.forget_dead().await.unwrap();
            attacher.detach_device(Hook::PodIngress, device).await.unwrap();
            assert_eq!(attacher.attached().await.unwrap(), []);
        }
    });
}

#[test]
fn a_clsact_filter_is_found_again_and_replaced_in_place() {
    async_sandbox(async |sandbox| {
        let device = veth("pst-a", "pst-b");
        let attacher = Attacher::new(&sandbox.pins, DeviceMode::Clsact);
        for hook in Hook::POD {
            assert_eq!(attacher.attach_device(&programs(), hook, device).await.unwrap(), Change::Attached);
        }
        let second = programs();
        let attacher = Attacher::new(&sandbox.pins, DeviceMode::Clsact);
        for hook in Hook::POD {
            assert_eq!(attacher.attach_device(&second, hook, device).await.unwrap(), Change::Replaced);
        }
        let shown = output("tc filter show dev pst-a ingress");
        assert_eq!(shown.matches("penstock/pod_ingress").count(), 1, "{shown}");
        assert!(shown.contains(&format!(" id {} ", id(&second, Hook::PodIngress))), "{shown}");
        assert!(shown.contains("direct-action"), "{shown}");
        assert_eq!(attacher.attached().await.unwrap().len(), 2);

        for hook in Hook::POD {
            attacher.detach_device(hook, device).await.unwrap();
        }
        assert_eq!(attacher.attached().await.unwrap(), []);
        assert!(!output("tc qdisc show dev pst-a").contains("clsact"), "we made the clsact, so we remove it");
    });
}

#[test]
fn a_clsact_that_others_made_or_use_stays() {
    async_sandbox(async |sandbox| {
        let device = veth("pst-a", "pst-b");
        let attacher = Attacher::new(&sandbox.pins, DeviceMode::Clsact);
        let tc = |arguments: &str| {
            let status = std::process::Command::new("tc").args(arguments.split(' ')).status().unwrap();
            assert!(status.success(), "tc {arguments}");
        };
        tc("qdisc add dev pst-a clsact");
        attacher.attach_device(&programs(), Hook::PodIngress, device).await.unwrap();
        attacher.detach_device(Hook::PodIngress, device).await.unwrap();
        assert!(output("tc qdisc show dev pst-a").contains("clsact"));

        let used = veth("pst-c", "pst-d");
        attacher.attach_device(&programs(), Hook::PodIngress, used).await.unwrap();
        // A classic program of one instruction that returns 0.
        let filter =
            ["filter", "add", "dev", "pst-c", "egress", "prio", "9", "bpf", "bytecode", "1,6 0 0 0,"];
        assert!(std::process::Command::new("tc").args(filter).status().unwrap().success());
        attacher.detach_device(Hook::PodIngress, used).await.unwrap();
        assert!(output("tc filter show dev pst-c egress").contains("pref 9"));
        assert_eq!(attacher.attached().await.unwrap(), []);
    });
}

#[test]
fn changing_between_tcx_and_clsact_leaves_one_of_the_two() {
    sandbox_with_tcx(async |sandbox| {
        let device = veth("pst-a", "pst-b");
        let programs = programs();
        let hook = Hook::UplinkIngress;
        for mode in [DeviceMode::Clsact, DeviceMode::Tcx, DeviceMode::Clsact] {
            let attacher = Attacher::new(&sandbox.pins, mode);
            attacher.attach_device(&programs, hook, device).await.unwrap();
            let filters = output("tc filter show dev pst-a ingress").matches("penstock/").count();
            let links = tcx(hook, device).len();
            let expected = if mode == DeviceMode::Tcx { (0, 1) } else { (1, 0) };
            assert_eq!((filters, links), expected, "{mode:?}");
            assert_eq!(attacher.attached().await.unwrap().len(), 1);
        }
    });
}

#[test]
fn a_program_of_ours_without_a_pin_gives_way_and_one_of_others_stays() {
    sandbox_with_tcx(async |sandbox| {
        let device = veth("pst-a", "pst-b");
        let hook = Hook::PodIngress;
        let old = programs();
        let orphan = Link::tcx(old.get(hook).unwrap().as_fd(), attach_type(hook), device).unwrap();
        // Named alike, but with a map of another name; and with our map, but named otherwise.
        let foreign_map = map("counts", kinds::ARRAY, 8, 1, 0);
        let our_map = map("services", kinds::ARRAY, 8, 1, 0);
        let others = [program(hook, hook.name(), &foreign_map), program(hook, "theirs", &our_map)];
        let _kept: Vec<Link> =
            others.iter().map(|other| Link::tcx(other.as_fd(), attach_type(hook), device).unwrap()).collect();
        assert!(is_ours(id(&old, hook), hook).unwrap());

        let new = programs();
        Attacher::new(&sandbox.pins, DeviceMode::Tcx).attach_device(&new, hook, device).await.unwrap();
        let mut expected: Vec<u32> = others.iter().map(|other: &Program| other.info().unwrap().id).collect();
        expected.push(id(&new, hook));
        assert_eq!(tcx(hook, device).iter().map(|(id, _)| *id).collect::<Vec<_>>(), expected);
        assert_eq!(orphan.info().unwrap().target, LinkTarget::Device(0), "the orphan was detached");
    });
}

#[test]
fn socket_programs_outlive_who_attached_them_and_are_replaced_through_their_links() {
    async_sandbox(async |sandbox| {
        let cgroup = Cgroup::new();
        let attacher = Attacher::new(&sandbox.pins, DeviceMode::Tcx);
        for hook in Hook::SOCKET {
            let change = attacher.attach_cgroup(&programs(), hook, &cgroup.path).unwrap();
            assert_eq!(change, Change::Attached);
        }
        let second = programs();
        for hook in Hook::SOCKET {
            let change = attacher.attach_cgroup(&second, hook, &cgroup.path).unwrap();
            assert_eq!(change, Change::Replaced);
            assert_eq!(in_cgroup(hook, &cgroup), [id(&second, hook)]);
        }
        assert_eq!(attacher.attached().await.unwrap().len(), 8);
        for hook in Hook::SOCKET {
            attacher.detach_cgroup(hook, Some(&cgroup.path)).unwrap();
            assert_eq!(in_cgroup(hook, &cgroup), []);
        }
        assert_eq!(attacher.attached().await.unwrap(), []);
    });
}

#[test]
fn another_cgroup_takes_the_link_along() {
    sandbox(|sandbox| {
        let (first, second) = (Cgroup::new(), Cgroup::new());
        let attacher = Attacher::new(&sandbox.pins, DeviceMode::Tcx);
        let programs = programs();
        let hook = Hook::Connect4;
        attacher.attach_cgroup(&programs, hook, &first.path).unwrap();
        assert_eq!(attacher.attach_cgroup(&programs, hook, &second.path).unwrap(), Change::Attached);
        assert_eq!((in_cgroup(hook, &first).len(), in_cgroup(hook, &second).len()), (0, 1));

        // A cgroup that was removed and made again has another number.
        fs::remove_dir(&second.path).unwrap();
        fs::create_dir(&second.path).unwrap();
        assert_eq!(attacher.attach_cgroup(&programs, hook, &second.path).unwrap(), Change::Attached);
        assert_eq!(in_cgroup(hook, &second).len(), 1);
    });
}

#[test]
fn a_socket_program_of_ours_without_a_pin_gives_way() {
    sandbox(|sandbox| {
        let cgroup = Cgroup::new();
        let folder = File::open(&cgroup.path).unwrap();
        let hook = Hook::Sendmsg6;
        let old = programs();
        let _orphan =
            Link::cgroup(old.get(hook).unwrap().as_fd(), attach_type(hook), folder.as_fd()).unwrap();
        let new = programs();
        Attacher::new(&sandbox.pins, DeviceMode::Tcx).attach_cgroup(&new, hook, &cgroup.path).unwrap();
        assert_eq!(in_cgroup(hook, &cgroup), [id(&new, hook)]);
    });
}
