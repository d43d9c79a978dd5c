//! Handshakes of `cpi-hub.v1` that show nothing where something is asked: they are accepted, and
//! their first message is judged as a token of the handshake would have been.

use std::sync::Arc;

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bytes::BytesMut;

use super::offer::{Offer, accepted_head};
use super::{Claim, Opening, reserve, take};
use crate::edge::Edge;
use crate::edge::auth::{NothingShown, Secret, shown_by};
use crate::edge::http::peer::Peer;
use crate::edge::http::problem::Refusal;
use crate::edge::http::upgrade::{Judge, Unproven};
use crate::edge::traced;
use crate::telemetry::Seed;
use crate::wire::reject::Reject;
use crate::wire::{Dialect, Encoding};

/// The handshake, if it may show its token in its first message: one that shows none now.
pub(super) fn may_wait<'a>(request: &Request, offer: Option<&'a Offer>) -> Option<&'a Offer> {
    let shows_nothing = request.extensions().get::<NothingShown>().is_some();
    offer.filter(|offer| shows_nothing && offer.dialect == Dialect::V1)
}

/// The answer to such a handshake: its socket waits at the edge for the token.
pub(super) fn answer(
    edge: &Arc<Edge>,
    peer: Peer,
    claim: Claim,
    (offer, seed): (&Offer, Option<Seed>),
) -> Response {
    if edge.hub.is_draining() {
        return Refusal::from(Reject::Draining).into_response();
    }
    let (opening, dialect, request) = (accepted_head(offer), offer.dialect, offer.request.clone());
    let encoding = offer.encoding();
    let edge = Arc::clone(edge);
    let judge: Judge = Box::new(move |shown: &str| {
        let begun = edge.now();
        let mut span = seed.map(|seed| seed.begin_at(begun));
        let judged = shown_by(&edge.auth, peer, &Secret::new(shown.as_bytes()))
            .map_err(Refusal::from)
            .and_then(|caller| claim.judged(&caller))
            .and_then(|claim| reserve(&edge, peer, claim));
        match judged {
            // The handshake has been answered: the member is owed nothing before its welcome.
            Ok(reserved) => {
                let bytes = BytesMut::new();
                let opening = Opening { bytes, dialect, encoding, request, begun, span };
                Ok(take(&edge, peer, reserved, opening))
            }
            Err(refusal) => {
                if let Some(span) = &mut span {
                    traced::refuse(span, refusal.code);
                }
                let reject = refusal.counts.unwrap_or(Reject::Internal);
                edge.metrics.edge.reject(reject);
                Err(reject)
            }
        }
    });
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    let may_deflate = encoding == Encoding::Deflated;
    response.extensions_mut().insert(Arc::new(Unproven { opening, may_deflate, judge }));
    response
}
