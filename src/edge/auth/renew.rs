//! What becomes of members after they were let in: tokens that they show in place of those that
//! they came by are judged here, since the heart knows none; and who came by a key that is gone
//! goes.

use tokio::sync::mpsc;

use super::caller::Caller;
use super::current::Auth;
use super::secret::Secret;
use crate::hub::{Hub, RenewalRequest};
use crate::shard::event::{Grant, Renewal, Revocation};

/// Judges tokens until nobody can show any more.
pub(crate) async fn renew(auth: Auth, hub: Hub, mut requests: mpsc::Receiver<RenewalRequest>) {
    while let Some(request) = requests.recv().await {
        let grant = judge(&auth, &request.renewal);
        hub.grant(&request, grant);
    }
}

/// Closes who came by a key that is no longer configured, or by a token that it has signed.
pub(crate) async fn part(mut auth: Auth, hub: Hub) {
    while let Some(gone) = auth.gone().await {
        for key in gone {
            match hub.revoke(Revocation::Key(key)).await {
                Ok(closed) => tracing::info!(closed, "a key is gone, and who came by it"),
                Err(reject) => {
                    tracing::error!(code = reject.code(), "a key is gone, not its members")
                }
            }
        }
    }
}

/// What a member may do by a token; one of another user, or not for its space, is none.
fn judge(auth: &Auth, renewal: &Renewal) -> Option<Grant> {
    let caller = auth.caller(&Secret::new(renewal.token.as_bytes()), renewal.address).ok()?;
    // A key is no token: it has no end.
    let Caller::User(_) = caller else { return None };
    caller.joins(renewal.user, renewal.space).ok()
}
