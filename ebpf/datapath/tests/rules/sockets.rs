//! Services at the socket.

use std::net::IpAddr;

use penstock_abi::{Addr, EmptySet, Port, Protocol, Reason};
use penstock_datapath::memory::{InMemory, Socket};
use penstock_datapath::{Answer, connect, getpeername, recvmsg, sendmsg};

use crate::support::stage::*;

type At = (IpAddr, u16);

/// What a program does with a socket, whichever its family.
trait Calls {
    fn connect(&mut self, stage: &Stage, to: At) -> (Answer, At);
    fn sendmsg(&mut self, stage: &Stage, to: At) -> (Answer, At);
    fn recvmsg(&mut self, stage: &Stage, from: At) -> At;
    fn getpeername(&mut self, told: At) -> At;
}

impl<F: InMemory> Calls for Socket<F> {
    fn connect(&mut self, stage: &Stage, to: At) -> (Answer, At) {
        self.remote = (addr(to.0), Port::new(to.1));
        (connect::<F>(self, &&stage.node), told(self))
    }

    fn sendmsg(&mut self, stage: &Stage, to: At) -> (Answer, At) {
        self.remote = (addr(to.0), Port::new(to.1));
        (sendmsg::<F>(self, &&stage.node), told(self))
    }

    fn recvmsg(&mut self, stage: &Stage, from: At) -> At {
        self.remote = (addr(from.0), Port::new(from.1));
        recvmsg::<F>(self, &&stage.node);
        told(self)
    }

    fn getpeername(&mut self, remote: At) -> At {
        self.remote = (addr(remote.0), Port::new(remote.1));
        getpeername::<F>(self);
        told(self)
    }
}

fn told<F: InMemory>(socket: &Socket<F>) -> At {
    (socket.remote.0.to_ip(), socket.remote.1.get())
}

fn socket(stage: &Stage, protocol: Protocol, cookie: u64) -> Box<dyn Calls> {
    in_family!(stage.is_v6, F => Box::new(Socket::<F>::new(protocol, cookie)))
}

fn serve(stage: &mut Stage) {
    let targets = [(stage.local(), TO_LOCAL), (stage.remote(), TO_REMOTE)];
    stage.service(WEB, stage.vip(), &targets);
}

#[test]
fn a_connection_is_made_to_a_backend_and_names_the_service_as_its_peer() {
    in_both_families(|mut stage| {
        serve(&mut stage);
        let vip = (stage.vip(), PORT);
        for protocol in [Protocol::TCP, Protocol::UDP] {
            let mut socket = socket(&stage, protocol, 1);
            let (answer, backend) = socket.connect(&stage, vip);
            assert_eq!(answer, Answer::Proceed);
            assert!([(stage.local(), TARGET), (stage.remote(), TARGET)].contains(&backend));
            assert_eq!(socket.getpeername(backend), vip);
            assert_eq!(socket.recvmsg(&stage, backend), vip);
        }
        assert_eq!(stage.node.service_count(WEB).flows, 2);
        assert!(stage.flows().is_empty(), "nothing is tracked by the packet");
    });
}

#[test]
fn connections_are_spread_over_all_backends() {
    in_both_families(|mut stage| {
        serve(&mut stage);
        let mut to_local = 0;
        for cookie in 0..1_000 {
            let (_, backend) = socket(&stage, Protocol::TCP, cookie).connect(&stage, (stage.vip(), PORT));
            to_local += u32::from(backend.0 == stage.local());
        }
        assert!((400..600).contains(&to_local), "{to_local} of 1000");
    });
}

#[test]
fn a_call_to_what_is_no_service_is_left_alone() {
    in_both_families(|mut stage| {
        serve(&mut stage);
        for to in [(stage.vip(), 9), (stage.local(), TARGET), (stage.outside(), PORT)] {
            let mut socket = socket(&stage, Protocol::UDP, 1);
            assert_eq!(socket.connect(&stage, to), (Answer::Proceed, to));
            assert_eq!(socket.sendmsg(&stage, to), (Answer::Proceed, to));
            assert_eq!(socket.recvmsg(&stage, to), to);
            assert_eq!(socket.getpeername(to), to);
        }
    });
}

#[test]
fn a_call_to_a_service_without_endpoints_is_refused() {
    in_both_families(|mut stage| {
        stage.service(WEB, stage.vip(), &[]);
        let vip = (stage.vip(), PORT);
        assert_eq!(socket(&stage, Protocol::TCP, 1).connect(&stage, vip), (Answer::Refuse, vip));
        assert_eq!(socket(&stage, Protocol::UDP, 2).sendmsg(&stage, vip), (Answer::Refuse, vip));
        assert_eq!(stage.node.drops(Reason::NoEndpoints).packets, 2);
        // Where the rule is to drop, the caller is kept waiting: its packets are dropped.
        stage.set(WEB, &[], EmptySet::Drop);
        assert_eq!(socket(&stage, Protocol::TCP, 3).connect(&stage, vip), (Answer::Proceed, vip));
    });
}

#[test]
fn a_socket_that_sends_again_stays_with_its_backend_while_that_is_a_member() {
    in_both_families(|mut stage| {
        serve(&mut stage);
        let vip = (stage.vip(), PORT);
        let mut socket = socket(&stage, Protocol::UDP, 1);
        stage.node.next_random(&[0]);
        let (_, first) = socket.sendmsg(&stage, vip);
        for _ in 0..20 {
            assert_eq!(socket.sendmsg(&stage, vip).1, first);
        }
        assert_eq!(stage.node.service_count(WEB).flows, 1);

        stage.set(WEB, &[WEB * 10 + 1], EmptySet::Refuse);
        stage.change_backend(WEB * 10, |target| target.member = false);
        let (_, second) = socket.sendmsg(&stage, vip);
        assert_eq!((first.0, second.0), (stage.local(), stage.remote()));
        // An answer of the first that is late still comes from the service.
        assert_eq!(socket.recvmsg(&stage, first), vip);
        assert_eq!(socket.recvmsg(&stage, second), vip);
    });
}

#[test]
fn a_backend_of_another_generation_or_service_is_not_stayed_with() {
    in_both_families(|mut stage| {
        let changes: [fn(&mut Target); 2] =
            [|target| target.generation += 1, |target| target.service = OTHER];
        for change in changes {
            serve(&mut stage);
            let mut socket = socket(&stage, Protocol::UDP, 1);
            stage.node.next_random(&[0, u32::MAX]);
            socket.sendmsg(&stage, (stage.vip(), PORT));
            stage.change_backend(WEB * 10, change);
            assert_eq!(socket.sendmsg(&stage, (stage.vip(), PORT)).1.0, stage.remote());
        }
    });
}

#[test]
fn answers_to_a_socket_that_asks_several_services_come_from_the_one_that_was_asked() {
    in_both_families(|mut stage| {
        stage.service(WEB, stage.vip(), &[(stage.local(), TO_LOCAL)]);
        stage.service(OTHER, stage.other_vip(), &[(stage.remote(), TO_REMOTE)]);
        let mut socket = socket(&stage, Protocol::UDP, 1);
        let (_, web) = socket.sendmsg(&stage, (stage.vip(), PORT));
        let (_, other) = socket.sendmsg(&stage, (stage.other_vip(), PORT));
        assert_eq!(socket.recvmsg(&stage, web), (stage.vip(), PORT));
        assert_eq!(socket.recvmsg(&stage, other), (stage.other_vip(), PORT));
        // Somebody else's datagram is what it is, and so is the same backend's at another socket.
        assert_eq!(socket.recvmsg(&stage, (stage.outside(), 53)), (stage.outside(), 53));
        let mut stranger = self::socket(&stage, Protocol::UDP, 2);
        assert_eq!(stranger.recvmsg(&stage, web), web);
    });
}

#[test]
fn an_answer_found_in_an_element_that_was_recycled_is_what_it_is() {
    in_both_families(|mut stage| {
        stage.service(WEB, stage.vip(), &[(stage.local(), TO_LOCAL)]);
        stage.service(OTHER, stage.other_vip(), &[(stage.remote(), TO_REMOTE)]);
        let mut socket = socket(&stage, Protocol::UDP, 1);
        let (_, web) = socket.sendmsg(&stage, (stage.vip(), PORT));
        socket.sendmsg(&stage, (stage.other_vip(), PORT));
        in_family!(stage.is_v6, F => {
            stage.node.family::<F>().udp_peers.borrow_mut().values_mut().for_each(|peer| peer.tag ^= 1);
        });
        assert_eq!(socket.recvmsg(&stage, web), web);
    });
}
