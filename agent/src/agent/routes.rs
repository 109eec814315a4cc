//! The node's routes to the pods of other nodes.

use penstock_kernel::Error;
use penstock_kernel::routes::{self, Route, Routes};
use penstock_model::DesiredRoute;

/// What following the routes has shown.
#[derive(Debug, Default)]
pub(super) struct Followed {
    /// What could not be done, and is to be tried again.
    pub(super) failures: Vec<String>,
    /// Routes that were not made since someone else leads there: another CNI plugin, or the operator.
    pub(super) left: Vec<Route>,
}

/// Makes the routes that are missing and, where asked to, removes those of ours that nobody wants. Where someone else has
/// a route to the same range, that one is taken for good.
pub(super) async fn follow(desired: &[DesiredRoute], prune: bool) -> Followed {
    let mut followed = Followed::default();
    let there = match routes::read().await {
        Ok(there) => there,
        Err(error) => {
            followed.failures.push(format!("read the routes: {error}"));
            return followed;
        }
    };
    let difference = difference(desired, &there);
    followed.left = difference.left;
    for route in difference.missing {
        match routes::ensure(&route).await {
            Ok(()) => tracing::debug!(%route, "made a route"),
            // It was made meanwhile.
            Err(Error::ForeignRoute { .. }) => followed.left.push(route),
            Err(error) => followed.failures.push(error.to_string()),
        }
    }
    // Another way to the same range was changed in place above.
    for route in difference.surplus.into_iter().filter(|_| prune) {
        match routes::remove(&route).await {
            Ok(()) => tracing::debug!(%route, "removed a route"),
            Err(error) => followed.failures.push(error.to_string()),
        }
    }
    followed
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Difference {
    missing: Vec<Route>,
    /// Wanted, but not made: someone else leads there.
    left: Vec<Route>,
    surplus: Vec<Route>,
}

/// What is to be made and removed: where a range only gets another gateway, nothing is removed.
fn difference(desired: &[DesiredRoute], there: &Routes) -> Difference {
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
    let surplus = there.own.iter().copied().filter(|route| !ranges.contains(&range(route))).collect();
    let missing = desired.into_iter().filter(|route| !there.own.contains(route));
    let (left, missing) = missing.partition(|route| there.foreign.contains(&range(route)));
    Difference { missing, left, surplus }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desired(range: &str, gateway: &str) -> DesiredRoute {
        DesiredRoute { dest: range.parse().unwrap(), gateway: gateway.parse().unwrap(), ifindex: 2 }
    }

    fn route(range: &str, gateway: &str) -> Route {
        let DesiredRoute { dest, gateway, ifindex } = desired(range, gateway);
        Route { destination: dest.ip(), prefix: dest.prefix(), gateway, ifindex }
    }

    #[test]
    fn missing_routes_are_made_and_only_ranges_that_nobody_wants_are_removed() {
        let wanted = [
            desired("10.1.0.0/24", "192.0.2.1"),
            desired("10.2.0.0/24", "192.0.2.2"),
            desired("fd00:3::/64", "2001:db8::3"),
        ];
        let own = vec![
            route("10.1.0.0/24", "192.0.2.1"),
            route("10.2.0.0/24", "192.0.2.9"),
            route("10.9.0.0/24", "192.0.2.9"),
        ];
        let difference = difference(&wanted, &Routes { own, ..Routes::default() });
        assert_eq!(
            difference.missing,
            [route("10.2.0.0/24", "192.0.2.2"), route("fd00:3::/64", "2001:db8::3")]
        );
        assert_eq!(difference.surplus, [route("10.9.0.0/24", "192.0.2.9")]);
        assert!(difference.left.is_empty());
    }

    #[test]
    fn a_range_that_someone_else_leads_to_is_left_to_them() {
        let wanted = [desired("10.1.0.0/24", "192.0.2.1"), desired("10.2.0.0/24", "192.0.2.2")];
        let foreign = [("10.2.0.0".parse().unwrap(), 24), ("10.1.0.0".parse().unwrap(), 16)].into();
        let difference = difference(&wanted, &Routes { foreign, ..Routes::default() });
        assert_eq!(difference.missing, [route("10.1.0.0/24", "192.0.2.1")]);
        assert_eq!(difference.left, [route("10.2.0.0/24", "192.0.2.2")]);
    }
}
