//! Tokens that members show in place of those that they came by: judged here, since the heart knows
//! no tokens.

use tokio::sync::mpsc;

use super::caller::Caller;
use super::current::Auth;
use super::secret::Secret;
use crate::hub::{Hub, RenewalRequest};
use crate::shard::event::{Grant, Renewal};

/// Judges tokens until nobody can show any more.
pub(crate) async fn renew(auth: Auth, hub: Hub, mut requests: mpsc::Receiver<RenewalRequest>) {
    while let Some(request) = requests.recv().await {
        let grant = judge(&auth, &request.renewal);
        hub.grant(&request, grant);
    }
}

/// What a member may do by a token; one of another user, or not for its space, is none.
fn judge(auth: &Auth, renewal: &Renewal) -> Option<Grant> {
    let caller = auth.caller(&Secret::new(renewal.token.as_bytes()));
    // A key is no token: it has no end.
    let Caller::User(_) = caller else { return None };
    caller.joins(renewal.user, renewal.space).ok()
}
