//! What stands where requests would leave, in a run that sends none.

use std::time::Duration;

use async_trait::async_trait;

use super::{Transport, TransportError, WireRequest, WireResponse};

/// Carries nothing. It needs no certificates, so a replay runs where there are none.
#[derive(Debug, Clone, Copy)]
pub struct Nobody;

#[async_trait]
impl Transport for Nobody {
    async fn send(&self, request: WireRequest, _: Duration) -> Result<WireResponse, TransportError> {
        Err(TransportError::Connect { host: request.url, reason: "this run asks no server".to_owned() })
    }
}
