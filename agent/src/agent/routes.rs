//! The node's routes to the pods of other nodes.

use penstock_kernel::routes::{self, Route};
use penstock_model::DesiredRoute;

/// Makes the routes that are missing and, where asked to, removes those of ours that nobody wants.
pub(super) async fn follow(desired: &[DesiredRoute], prune: bool, failures: &mut Vec<String>) {
    let own = match routes::own().await {
        Ok(own) => own,
        Err(error) => {
            failures.push(format!("read the routes: {error}"));
            return;
        }
    };
    let (missing, surplus) = difference(desired, &own);
    for route in missing {
        match routes::ensure(&route).await {
            Ok(()) => tracing::debug!(%route, "made a route"),
            Err(error) => failures.push(error.to_string()),
        }
    }
    // Another way to the same range was changed in place above.
    for route in surplus.into_iter().filter(|_| prune) {
        match routes::remove(&route).await {
            Ok(()) => tracing::debug!(%route, "removed a route"),
            Err(error) => failures.push(error.to_string()),
        }
    }
}

/// The routes to make, and those to remove: where a range only gets another gateway, nothing is removed.
fn difference(desired: &[DesiredRoute], own: &[Route]) -> (Vec<Route>, Vec<Route>) {
    let range = |route: &Route| (route.destination, route.prefix);
    let desired: Vec<_> = desired
        .iter()
        .map(|route| Route {
            destination: route.dest.network(),
            prefix: route.dest.prefix(),
            gateway: route.gateway,
            ifindex: route.ifindex,
        })
        .collect();
    let ranges: std::collections::BTreeSet<_> = desired.iter().map(range).collect();
    let surplus = own.iter().copied().filter(|route| !ranges.contains(&range(route))).collect();
    let missing = desired.into_iter().filter(|route| !own.contains(route)).collect();
    (missing, surplus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_routes_are_made_and_only_ranges_that_nobody_wants_are_removed() {
        let route = |range: &str, gateway: &str| DesiredRoute {
            dest: range.parse().unwrap(),
            gateway: gateway.parse().unwrap(),
            ifindex: 2,
        };
        let own = |range: &str, gateway: &str| {
            let DesiredRoute { dest, gateway, ifindex } = route(range, gateway);
            Route { destination: dest.ip(), prefix: dest.prefix(), gateway, ifindex }
        };
        let desired = [
            route("10.1.0.0/24", "192.0.2.1"),
            route("10.2.0.0/24", "192.0.2.2"),
            route("fd00:3::/64", "2001:db8::3"),
        ];
        let there = [
            own("10.1.0.0/24", "192.0.2.1"),
            own("10.2.0.0/24", "192.0.2.9"),
            own("10.9.0.0/24", "192.0.2.9"),
        ];
        let (missing, surplus) = difference(&desired, &there);
        assert_eq!(missing, [own("10.2.0.0/24", "192.0.2.2"), own("fd00:3::/64", "2001:db8::3")]);
        assert_eq!(surplus, [own("10.9.0.0/24", "192.0.2.9")]);
    }
}
