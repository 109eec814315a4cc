//! The body of a watch, line by line.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use kube::client::Body;
use tokio::time::timeout;

use super::causes::cause;
use super::trouble::Trouble;

/// Lines as they come. Holds no more than the longest line and what was read ahead.
pub(super) struct Lines {
    body: Body,
    buffer: BytesMut,
    /// Up to here there is no end of a line.
    searched: usize,
    server: String,
    spoke: bool,
}

impl Lines {
    pub(super) fn new(body: Body, server: String) -> Self {
        Self { body, buffer: BytesMut::new(), searched: 0, server, spoke: false }
    }

    /// Who sends them.
    pub(super) fn server(&self) -> &str {
        &self.server
    }

    /// Whether there has been a line.
    pub(super) fn spoke(&self) -> bool {
        self.spoke
    }

    /// The next line without its end; `None` after the last.
    ///
    /// # Errors
    /// The body broke off, or nothing came for the time of `silence`.
    pub(super) async fn next(&mut self, silence: Duration) -> Result<Option<Bytes>, Trouble> {
        loop {
            let rest = self.buffer.get(self.searched..).unwrap_or_default();
            if let Some(at) = rest.iter().position(|byte| *byte == b'\n') {
                let mut line = self.buffer.split_to(self.searched + at + 1);
                line.truncate(line.len() - 1);
                self.searched = 0;
                self.spoke = true;
                return Ok(Some(line.freeze()));
            }
            self.searched = self.buffer.len();
            match timeout(silence, self.body.frame()).await {
                Ok(Some(Ok(frame))) => {
                    self.buffer.extend(frame.data_ref().map(|data| &**data).unwrap_or_default())
                }
                Ok(Some(Err(error))) => return Err(self.cut(cause(&error))),
                Ok(None) if self.buffer.is_empty() => return Ok(None),
                Ok(None) => return Err(self.cut("in the middle of an event".into())),
                Err(_) => return Err(Trouble::Silent { server: self.server.clone(), silence }),
            }
        }
    }

    fn cut(&self, cause: String) -> Trouble {
        Trouble::Cut { server: self.server.clone(), cause }
    }
}

/// The whole of a body, `limit` bytes of it at most.
///
/// # Errors
/// As [`Lines::next`].
pub(super) async fn whole(
    mut body: Body,
    limit: usize,
    silence: Duration,
    server: &str,
) -> Result<Vec<u8>, Trouble> {
    let mut all = Vec::new();
    while all.len() < limit {
        match timeout(silence, body.frame()).await {
            Ok(Some(Ok(frame))) => {
                all.extend_from_slice(frame.data_ref().map(|data| &**data).unwrap_or_default())
            }
            Ok(Some(Err(error))) => return Err(Trouble::Cut { server: server.into(), cause: cause(&error) }),
            Ok(None) => break,
            Err(_) => return Err(Trouble::Silent { server: server.into(), silence }),
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENCE: Duration = Duration::from_secs(10);

    fn lines(text: &'static str) -> Lines {
        Lines::new(Body::from(text.as_bytes().to_vec()), "https://a".into())
    }

    #[tokio::test]
    async fn lines_come_one_by_one_and_then_no_more() {
        let mut lines = lines("a\nbc\n\n");
        for expected in ["a", "bc", ""] {
            assert_eq!(lines.next(SILENCE).await.unwrap().unwrap(), expected);
        }
        assert!(lines.next(SILENCE).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn an_event_that_is_cut_off_is_none() {
        let mut lines = lines("a\n{\"type\": \"ADD");
        lines.next(SILENCE).await.unwrap();
        let error = lines.next(SILENCE).await.unwrap_err().to_string();
        assert!(error.contains("https://a") && error.contains("middle of an event"), "{error}");
    }
}
