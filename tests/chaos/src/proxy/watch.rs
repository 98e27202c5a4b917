//! The events of one watch, as they are or as they should not be.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{Response, header};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use kube_client::client::Body;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::sync::watch::Receiver;
use tokio::time::sleep;

use super::answer::{AnswerBody, Cut, GARBAGE, status_object, with};
use super::fault::EventFault;
use super::{Shared, Weather};

/// Pieces that wait for a client which reads slowly.
const PIECES_MAX: usize = 16;
/// Of a hundred events so many are struck, where a fault does not strike all.
const EVENT_PERCENT: u32 = 40;
/// Events that are remembered, to be shown again.
const EARLIER_MAX: usize = 16;

type Piece = Result<Frame<Bytes>, Cut>;

/// The answer to a watch. It is relayed until either side ends it, or the weather turns bad.
pub(super) fn relay(
    shared: &Arc<Shared>,
    weather: Receiver<Weather>,
    answer: Response<Body>,
    fault: Option<EventFault>,
) -> Response<AnswerBody> {
    let (head, body) = answer.into_parts();
    let (sender, receiver) = mpsc::channel(PIECES_MAX);
    // An answer that refuses has no events.
    let fault = fault.filter(|_| head.status.is_success());
    let relay = Relay { shared: Arc::clone(shared), sender, fault, earlier: VecDeque::new() };
    tokio::spawn(relay.run(body, weather));
    let pieces = futures::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|piece| (piece, receiver))
    });
    let content_type = head.headers.get(header::CONTENT_TYPE);
    with(head.status, content_type, StreamBody::new(pieces).boxed_unsync())
}

struct Relay {
    shared: Arc<Shared>,
    sender: mpsc::Sender<Piece>,
    fault: Option<EventFault>,
    earlier: VecDeque<Bytes>,
}

/// The stream is over.
struct Over;

impl Relay {
    async fn run(mut self, mut body: Body, mut weather: Receiver<Weather>) {
        let mut rest = BytesMut::new();
        loop {
            let frame = tokio::select! {
                frame = body.frame() => frame,
                changed = weather.changed() => {
                    let fair = changed.is_ok() && weather.borrow_and_update().rules.is_empty();
                    // What was held back would never be seen, were the stream to go on.
                    if !fair || self.fault == Some(EventFault::Silent) {
                        let _ = self.sender.send(Err(Cut)).await;
                        return;
                    }
                    self.fault = None;
                    continue;
                }
                () = self.sender.closed() => return,
            };
            let data = match frame {
                Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
                Some(Err(_)) => {
                    let _ = self.sender.send(Err(Cut)).await;
                    return;
                }
                None => return,
            };
            rest.extend_from_slice(&data);
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line = rest.split_to(end + 1).freeze();
                if self.event(line).await.is_err() {
                    return;
                }
            }
        }
    }

    async fn event(&mut self, line: Bytes) -> Result<(), Over> {
        let Some(fault) = self.fault else { return self.pass(line).await };
        let always = matches!(fault, EventFault::Twice | EventFault::Silent);
        if !always && self.shared.chance().u32(..100) >= EVENT_PERCENT {
            self.remember(&line);
            return self.pass(line).await;
        }
        if fault != EventFault::Stale || !self.earlier.is_empty() {
            self.shared.count();
        }
        match fault {
            EventFault::Cut => {
                let _ = self.sender.send(Err(Cut)).await;
                Err(Over)
            }
            EventFault::HalfLine => {
                self.pass(line.slice(..line.len() / 2)).await?;
                Err(Over)
            }
            EventFault::Error(code) => {
                let event = json!({ "type": "ERROR", "object": status_object(code) });
                self.pass(format!("{event}\n").into()).await?;
                Err(Over)
            }
            EventFault::Twice => {
                self.pass(line.clone()).await?;
                self.pass(line).await
            }
            EventFault::Stale => {
                self.remember(&line);
                self.pass(line).await?;
                let earlier = self.earlier.len() - 1;
                if earlier == 0 {
                    return Ok(());
                }
                let which = self.shared.chance().usize(..earlier);
                self.pass(self.earlier[which].clone()).await?;
                Err(Over)
            }
            EventFault::Garbage => self.pass([GARBAGE, b"\n"].concat().into()).await,
            EventFault::Silent => Ok(()),
            EventFault::Late(most) => {
                let pause = most.mul_f64(self.shared.chance().f64());
                sleep(pause).await;
                self.pass(line).await
            }
        }
    }

    fn remember(&mut self, line: &Bytes) {
        if self.earlier.len() == EARLIER_MAX {
            self.earlier.pop_front();
        }
        self.earlier.push_back(line.clone());
    }

    async fn pass(&self, line: Bytes) -> Result<(), Over> {
        self.sender.send(Ok(Frame::data(line))).await.map_err(|_| Over)
    }
}
