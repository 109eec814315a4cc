//! What can be wrong between the agent and the API, in words that say who has to do what.

use std::time::Duration;

use http::StatusCode;
use kube::core::Status;

use super::causes::{cause, chain};
use super::resource::Resource;
use super::servers::Unreachable;

/// The role that the manifests give the agent.
const CLUSTER_ROLE: &str = "penstock";

/// Why a list or a watch ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error(transparent)]
    Unreachable(Unreachable),
    #[error(
        "{server}: does not accept the agent's credentials ({message}); is its token or certificate of this cluster, and valid?"
    )]
    Unauthorized { server: String, message: String },
    #[error(
        "{server}: the agent may not {verb} {plural}: the ClusterRole of its account, {CLUSTER_ROLE:?} in the manifests, must allow verb {verb:?} on resource {plural:?} of API group {group:?} ({message})"
    )]
    Forbidden {
        server: String,
        verb: &'static str,
        plural: &'static str,
        group: &'static str,
        message: String,
    },
    #[error("{server}: there is no {plural} in API group {group:?}")]
    NoSuchResource { server: String, plural: &'static str, group: &'static str },
    #[error("{server}: keeps no history that reaches back far enough ({message})")]
    Expired { server: String, message: String },
    #[error("{server}: answered {code}: {message}")]
    Refused { server: String, code: StatusCode, message: String },
    #[error("{server}: the connection broke: {cause}")]
    Cut { server: String, cause: String },
    #[error("{server}: its versions have gone back: it serves another store than before")]
    OtherStore { server: String },
    #[error("{server}: ended the watch before its time")]
    Ended { server: String },
    #[error("{server}: said nothing for {} s", .silence.as_secs())]
    Silent { server: String, silence: Duration },
    #[error("{server}: sent what is no {what}: {error}")]
    Malformed { server: String, what: &'static str, error: serde_json::Error },
    #[error("{0}")]
    Other(String),
}

impl Trouble {
    /// What the client says of a request that was not answered.
    pub(super) fn unanswered(error: kube::Error) -> Self {
        match error {
            kube::Error::Service(error) => match error.downcast::<Unreachable>() {
                Ok(unreachable) => Self::Unreachable(*unreachable),
                Err(error) => Self::Other(chain(&*error)),
            },
            error => Self::Other(cause(&error)),
        }
    }

    /// What a server says in place of what it was asked for.
    pub(super) fn answered(
        server: String,
        code: StatusCode,
        message: String,
        verb: &'static str,
        resource: &Resource,
    ) -> Self {
        let (plural, group) = (resource.plural, resource.group());
        match code {
            StatusCode::UNAUTHORIZED => Self::Unauthorized { server, message },
            StatusCode::FORBIDDEN => Self::Forbidden { server, verb, plural, group, message },
            StatusCode::NOT_FOUND => Self::NoSuchResource { server, plural, group },
            StatusCode::GONE => Self::Expired { server, message },
            code => Self::Refused { server, code, message },
        }
    }

    /// Whether the server does not know streaming lists: it has them switched off, or is older than they are (KEP-3157).
    pub(super) fn refuses_parameters(&self) -> bool {
        matches!(self, Self::Refused { code, .. }
            if matches!(*code, StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY))
    }
}

/// The message of the body of an answer that is an error.
pub(super) fn message(body: &[u8]) -> String {
    match serde_json::from_slice::<Status>(body) {
        Ok(status) if !status.message.is_empty() => status.message,
        _ => String::from_utf8_lossy(body.get(..200).unwrap_or(body)).trim().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::resource::RESOURCES;
    use super::*;

    fn said(code: u16) -> Trouble {
        let code = StatusCode::from_u16(code).unwrap();
        Trouble::answered("https://a:6443".into(), code, "no".into(), "watch", &RESOURCES[1])
    }

    #[test]
    fn a_missing_right_is_named_as_a_role_would_grant_it() {
        let text = said(403).to_string();
        for part in [
            "https://a:6443: ",
            "ClusterRole",
            "verb \"watch\"",
            "resource \"endpointslices\"",
            "API group \"discovery.k8s.io\"",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }

    #[test]
    fn answers_are_told_apart_by_what_is_to_be_done() {
        assert!(said(401).to_string().contains("credentials"));
        assert!(matches!(said(404), Trouble::NoSuchResource { .. }));
        assert!(matches!(said(410), Trouble::Expired { .. }));
        assert!(said(422).refuses_parameters() && said(400).refuses_parameters());
        assert!(!said(503).refuses_parameters() && !said(403).refuses_parameters());
    }

    #[test]
    fn a_message_is_that_of_the_status_or_the_beginning_of_the_text() {
        assert_eq!(message(br#"{"kind": "Status", "message": "too old", "code": 410}"#), "too old");
        assert_eq!(message(b"upstream connect error\n"), "upstream connect error");
    }
}
