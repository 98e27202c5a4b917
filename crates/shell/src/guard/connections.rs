//! How long a connection of the server is kept, and how it ends.

use crate::write::Leading;
use std::future::Future;
use std::pin::{Pin, pin};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::timeout;

/// How long a connection that ends may take for the requests on it.
const END_WITHIN: Duration = Duration::from_secs(5);

/// Serves a connection until the other side closes it, leadership ends, or `elsewhere` is told that another instance is to be asked:
/// API servers keep connections, and would go on asking one that does not decide any more. `end` takes no further requests, and
/// tells the other side so.
pub(super) async fn keep<C: Future<Output = hyper::Result<()>>>(
    connection: C,
    end: impl Fn(Pin<&mut C>),
    mut leading: Leading,
    elsewhere: &Notify,
) -> hyper::Result<()> {
    let mut connection = pin!(connection);
    let mut leads = leading.may_write();
    loop {
        tokio::select! {
            result = connection.as_mut() => return result,
            () = elsewhere.notified() => break,
            () = leading.changed() => {
                let led = std::mem::replace(&mut leads, leading.may_write());
                if led && !leads {
                    break;
                }
            }
        }
    }
    end(connection.as_mut());
    timeout(END_WITHIN, connection).await.unwrap_or(Ok(()))
}
