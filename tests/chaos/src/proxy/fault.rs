//! What can be wrong with an answer, and whom it strikes.

use std::time::Duration;

use http::{Method, Uri};

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A binding.
    Bind,
    /// Any other write, but for the Lease's.
    Write,
    /// A Lease, read or written.
    Lease,
    /// One object, or what the API server serves.
    Read,
    /// A list, or a page of one.
    List,
    /// A watch.
    Watch,
}

impl Kind {
    /// All that a scheduler without an election asks for.
    pub const ALL: &'static [Self] = &[Self::Bind, Self::Write, Self::Read, Self::List, Self::Watch];
    /// What changes pods and events.
    pub const WRITES: &'static [Self] = &[Self::Bind, Self::Write];

    /// The kind of a request.
    #[must_use]
    pub fn of(method: &Method, uri: &Uri) -> Self {
        let query = uri.query().unwrap_or_default();
        if uri.path().contains("/leases") {
            return Self::Lease;
        }
        match *method {
            Method::GET if query.split('&').any(|part| matches!(part, "watch=true" | "watch=1")) => {
                Self::Watch
            }
            // Whoever lists says how many at once, or which.
            Method::GET if !query.is_empty() => Self::List,
            Method::GET => Self::Read,
            _ if uri.path().ends_with("/binding") => Self::Bind,
            _ => Self::Write,
        }
    }
}

/// What the proxy answers in place of the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A `Status` with this code, and `Retry-After: 1` where the second part says so.
    Status(u16, bool),
    /// 502 and a page.
    Page,
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Answered so, and not carried out.
    Refused(Reply),
    /// Carried out, and answered so all the same.
    Denied(Reply),
    /// Not carried out; the connection is closed after this time.
    Closed(Duration),
    /// Carried out; the connection is closed after this time, without an answer.
    Lost(Duration),
    /// The connection is closed at once; carried out within this time all the same.
    Overtaken(Duration),
    /// Carried out; the answer comes between these times later.
    Slow(Duration, Duration),
    /// Carried out; something is wrong with the body.
    Body(BodyFault),
    /// A list is answered as it was the first time.
    OldList,
    /// The events of a watch are not what the API server sent.
    Events(EventFault),
}

/// What is wrong with a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFault {
    /// It breaks off after half of what was announced.
    Truncated,
    /// Half of it, announced as all.
    Half,
    /// No JSON, nor UTF-8.
    Garbage,
    /// Nothing.
    Empty,
    /// It comes in pieces with pauses.
    Drip,
}

/// What is wrong with the events of a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventFault {
    /// The connection breaks before an event.
    Cut,
    /// The stream ends in the middle of an event.
    HalfLine,
    /// An ERROR event with this code comes in place of an event, and the stream ends.
    Error(u16),
    /// Each event comes twice.
    Twice,
    /// An event is followed by an earlier one, and the stream ends.
    Stale,
    /// An event is replaced by bytes that are no JSON.
    Garbage,
    /// Nothing comes.
    Silent,
    /// An event comes up to so much later; the order stays.
    Late(Duration),
}

/// A fault, whom it strikes, and how often.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// What it strikes. The first rule that takes a request decides about it.
    pub kinds: &'static [Kind],
    /// How many of a hundred requests.
    pub percent: u32,
    /// What happens to them.
    pub fault: Fault,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_apart() {
        let kind = |method: Method, uri: &'static str| Kind::of(&method, &Uri::from_static(uri));
        assert_eq!(kind(Method::POST, "/api/v1/namespaces/a/pods/b/binding"), Kind::Bind);
        assert_eq!(kind(Method::POST, "/apis/events.k8s.io/v1/namespaces/a/events"), Kind::Write);
        assert_eq!(kind(Method::PUT, "/apis/coordination.k8s.io/v1/namespaces/a/leases/b"), Kind::Lease);
        assert_eq!(kind(Method::GET, "/api/v1/pods?limit=500"), Kind::List);
        assert_eq!(kind(Method::GET, "/api/v1/pods?&watch=true&resourceVersion=1"), Kind::Watch);
        assert_eq!(kind(Method::GET, "/api/v1/namespaces/a/pods/b"), Kind::Read);
    }
}
