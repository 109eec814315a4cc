//! Endpoints come and go while requests run.

use anyhow::{Context, Result};
use penstock_tests::lab::{Family, Protocol, Runs};
use penstock_tests::probe::{Ask, Style};

use crate::both_ways;
use crate::fixture::{Fixture, STYLES};

both_ways!(
    no_request_fails_while_a_service_is_scaled_up_and_down,
    a_standing_connection_stays_with_a_backend_that_has_left,
    datagrams_of_a_standing_socket_leave_a_backend_that_has_left,
);

fn no_request_fails_while_a_service_is_scaled_up_and_down(fixture: &Fixture) -> Result<()> {
    let service = fixture.service("scaled", &[&fixture.near])?;
    let mut loads = Vec::new();
    for (style, protocol) in STYLES {
        for family in Family::BOTH {
            let ask = Ask::new(service.address(family, protocol), style).every_ms(1);
            loads.push((ask.clone(), fixture.client.load(&ask)?));
        }
    }
    for round in 0..6 {
        let both = [&fixture.near, &fixture.far];
        let backends = if round % 2 == 0 { &both[..] } else { &both[round / 2 % 2..][..1] };
        fixture.apply(&service.clone().with(backends.iter().copied()))?;
        for (_, load) in &loads {
            load.wait_for_more(10)?;
        }
    }
    for (ask, load) in loads {
        for answer in load.stop()? {
            assert_eq!(answer.error, None, "{ask:?}");
            assert_eq!(answer.peer, Some(ask.target));
        }
    }
    Ok(())
}

fn a_standing_connection_stays_with_a_backend_that_has_left(fixture: &Fixture) -> Result<()> {
    let service = fixture.service("standing", &[&fixture.near])?;
    let load = fixture
        .client
        .load(&Ask::new(service.address(Family::V4, Protocol::Tcp), Style::TcpStanding).every_ms(1))?;
    load.wait_for_more(10)?;
    fixture.apply(&service.clone().with([&fixture.far]))?;
    load.wait_for_more(50)?;
    for answer in load.stop()? {
        assert_eq!((answer.error, answer.server.as_deref()), (None, Some("near")));
    }
    Ok(())
}

fn datagrams_of_a_standing_socket_leave_a_backend_that_has_left(fixture: &Fixture) -> Result<()> {
    let service = fixture.service("moving", &[&fixture.near])?;
    for family in Family::BOTH {
        fixture.apply(&service.clone().with([&fixture.near]))?;
        let ask = Ask::new(service.address(family, Protocol::Udp), Style::UdpUnconnected).every_ms(1);
        let load = fixture.client.load(&ask)?;
        load.wait_for_more(10)?;
        fixture.apply(&service.clone().with([&fixture.far]))?;
        load.wait_for_more(50)?;
        let answers = load.stop()?;
        assert!(answers.iter().all(|answer| answer.is_ok()), "{answers:?}");
        let names: Vec<_> = answers.iter().filter_map(|answer| answer.server.as_deref()).collect();
        let stay = names.iter().position(|name| *name == "far").context("the socket has not moved")?;
        assert!(names[stay..].iter().all(|name| *name == "far"), "the socket went back: {names:?}");
    }
    Ok(())
}
