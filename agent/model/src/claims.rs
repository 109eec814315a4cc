//! Who has a frontend where several Services claim it: the oldest, by creation time and then by name.

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use crate::objects::{Kind, Timestamp};
use crate::tables::Frontend;
use crate::view::QualifiedName;
use crate::warning::{Problem, Warning};

/// The claims of all Services.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    by_frontend: HashMap<Frontend, Claim>,
    by_service: HashMap<QualifiedName, Claimant>,
}

#[derive(Debug)]
struct Claim {
    owner: QualifiedName,
    waiting: Vec<QualifiedName>,
}

#[derive(Debug)]
struct Claimant {
    created: Option<Timestamp>,
    frontends: Box<[Frontend]>,
}

impl Claims {
    /// Whether the Service has the frontend.
    pub(crate) fn owns(&self, service: &QualifiedName, frontend: &Frontend) -> bool {
        self.by_frontend.get(frontend).is_some_and(|claim| claim.owner == *service)
    }

    /// Replaces all claims of a Service; a Service that is gone claims nothing. Gives the other Services that have won
    /// or lost a frontend by it.
    pub(crate) fn set(
        &mut self,
        service: &QualifiedName,
        created: Option<Timestamp>,
        frontends: Box<[Frontend]>,
        warnings: &mut Vec<Warning>,
    ) -> Vec<QualifiedName> {
        let mut affected = Vec::new();
        if let Some(before) = self.by_service.remove(service) {
            for frontend in &before.frontends {
                affected.extend(self.release(service, frontend));
            }
        }
        if frontends.is_empty() {
            return affected;
        }
        let claimant = Claimant { created, frontends: frontends.clone() };
        self.by_service.insert(service.clone(), claimant);
        for frontend in frontends {
            affected.extend(self.claim(service, frontend, warnings));
        }
        affected
    }

    /// Whoever has the frontend now that this Service gives it up.
    fn release(&mut self, service: &QualifiedName, frontend: &Frontend) -> Option<QualifiedName> {
        let claim = self.by_frontend.get_mut(frontend)?;
        if claim.owner != *service {
            claim.waiting.retain(|waiting| waiting != service);
            return None;
        }
        let by_service = &self.by_service;
        let oldest = (0..claim.waiting.len()).min_by_key(|i| age(by_service, &claim.waiting[*i]));
        match oldest {
            Some(oldest) => {
                claim.owner = claim.waiting.swap_remove(oldest);
                Some(claim.owner.clone())
            }
            None => {
                self.by_frontend.remove(frontend);
                None
            }
        }
    }

    /// Whoever has lost the frontend to this Service.
    fn claim(
        &mut self,
        service: &QualifiedName,
        frontend: Frontend,
        warnings: &mut Vec<Warning>,
    ) -> Option<QualifiedName> {
        let claim = match self.by_frontend.entry(frontend) {
            Entry::Vacant(vacant) => {
                vacant.insert(Claim { owner: service.clone(), waiting: Vec::new() });
                return None;
            }
            Entry::Occupied(claim) => claim.into_mut(),
        };
        let wins = age(&self.by_service, service) < age(&self.by_service, &claim.owner);
        let loser = if wins { std::mem::replace(&mut claim.owner, service.clone()) } else { service.clone() };
        warnings.push(Warning {
            object: loser.key(Kind::Service),
            field: "spec.ports".into(),
            problem: Problem::Claimed { frontend, owner: claim.owner.key(Kind::Service) },
        });
        claim.waiting.push(loser.clone());
        wins.then_some(loser)
    }
}

/// Ascending from the oldest; a Service that does not tell its age is younger than one that does.
fn age<'a>(
    by_service: &HashMap<QualifiedName, Claimant>,
    service: &'a QualifiedName,
) -> (bool, Option<Timestamp>, &'a QualifiedName) {
    let created = by_service.get(service).and_then(|claimant| claimant.created);
    (created.is_none(), created, service)
}

#[cfg(test)]
mod tests {
    use penstock_abi::Protocol;

    use super::*;

    const FRONTEND: Frontend = Frontend {
        addr: std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 96, 0, 1)),
        port: 80,
        protocol: Protocol::TCP,
    };

    fn name(name: &str) -> QualifiedName {
        QualifiedName::new("default", name)
    }

    fn claim(claims: &mut Claims, service: &str, created: Option<i64>) -> (Vec<QualifiedName>, Vec<String>) {
        let mut warnings = Vec::new();
        let affected = claims.set(&name(service), created.map(Timestamp), [FRONTEND].into(), &mut warnings);
        (affected, warnings.iter().map(Warning::to_string).collect())
    }

    #[test]
    fn the_older_keeps_a_frontend_and_the_younger_gets_it_when_the_older_goes() {
        let mut claims = Claims::default();
        assert_eq!(claim(&mut claims, "old", Some(1)), (vec![], vec![]));
        let (affected, warnings) = claim(&mut claims, "young", Some(2));
        assert_eq!(affected, []);
        assert_eq!(
            warnings,
            [
                "Service default/young: spec.ports: 10.96.0.1:80/TCP stays with Service default/old, which is older"
            ]
        );
        assert!(claims.owns(&name("old"), &FRONTEND));
        let affected = claims.set(&name("old"), None, Box::default(), &mut Vec::new());
        assert_eq!(affected, [name("young")]);
        assert!(claims.owns(&name("young"), &FRONTEND));
    }

    #[test]
    fn an_older_service_that_comes_later_takes_the_frontend() {
        let mut claims = Claims::default();
        claim(&mut claims, "unknown-age", None);
        assert_eq!(claim(&mut claims, "young", Some(2)).0, [name("unknown-age")]);
        assert_eq!(claim(&mut claims, "old", Some(1)).0, [name("young")]);
        assert!(claims.owns(&name("old"), &FRONTEND));
    }

    #[test]
    fn of_two_of_one_age_the_first_by_name_wins() {
        let mut claims = Claims::default();
        claim(&mut claims, "b", Some(1));
        assert_eq!(claim(&mut claims, "a", Some(1)).0, [name("b")]);
    }
}
