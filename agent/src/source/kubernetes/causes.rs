//! Errors of the client in one line.

/// What the client says is wrong, without its name for where it came from.
pub(super) fn cause(error: &kube::Error) -> String {
    match error {
        kube::Error::Service(error) => chain(&**error),
        error => chain(error),
    }
}

/// An error and what led to it, each said once.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}
