//! What a front does with each request: who asks, what for, and may it.

use std::{
    convert::Infallible,
    sync::{Arc, PoisonError, RwLock},
};

use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{HOST, HeaderMap, HeaderName, HeaderValue},
};
use hyper_util::client::legacy::Client;

use super::{
    body::Body,
    forward,
    identity::{self, Identity},
    refusal::Refusal,
    route::Route,
    table::Table,
    target::{ENVD_PORT, Target, parse},
    wire::AgentConnector,
};

const INCARNATION: HeaderName = HeaderName::from_static("wrenn-incarnation");
const ACCESS_TOKEN: HeaderName = HeaderName::from_static("x-access-token");

pub struct FrontService {
    pub table: &'static Table,
    pub agent: Client<AgentConnector, Body>,
    /// `None`: everyone is let in (development).
    pub identity: RwLock<Option<Arc<Identity>>>,
}

impl FrontService {
    pub async fn handle(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        Ok(self.answer(request).await.unwrap_or_else(Refusal::into_response))
    }

    async fn answer(&self, mut request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
        let address = request
            .uri()
            .path_and_query()
            .map(ToString::to_string)
            .unwrap_or_default();
        match parse(&address) {
            // The agent's service asks for the credential itself.
            Ok(Target::Agent) => forward::to_agent(request, &self.agent).await,
            target => {
                if !self.admits(request.headers_mut()) {
                    return Err(Refusal::Unauthorized);
                }
                match target? {
                    Target::Agent => unreachable!("matched above"),
                    Target::Guest { sandbox_id, rest } => self.guest(request, sandbox_id, rest).await,
                    Target::Proxy { sandbox_id, port, rest } => self.proxy(request, sandbox_id, port, rest).await,
                }
            }
        }
    }

    /// AG1: the control plane speaks to envd of exactly the incarnation that it means.
    async fn guest(
        &self,
        mut request: Request<Incoming>,
        sandbox_id: &str,
        rest: &str,
    ) -> Result<Response<Body>, Refusal> {
        let unknown = Refusal::UnknownSandbox {
            status: StatusCode::NOT_FOUND,
        };
        let route = self.table.find(sandbox_id).ok_or(unknown)?;
        let meant = incarnation(request.headers_mut());
        if meant != Some(route.incarnation) {
            return Err(Refusal::StaleIncarnation {
                current: route.incarnation,
            });
        }
        if !route.ready() {
            return Err(Refusal::NotRunning {
                status: StatusCode::CONFLICT,
            });
        }
        let token = HeaderValue::from_str(&route.access_token()).map_err(|_| Refusal::Forbidden)?;
        request.headers_mut().insert(ACCESS_TOKEN, token);
        request.headers_mut().remove(HOST); // envd's own address takes its place
        forward::to_guest(request, &route, ENVD_PORT, rest).await
    }

    /// AG3: whoever the gateway let through speaks to a port of the sandbox.
    async fn proxy(
        &self,
        mut request: Request<Incoming>,
        sandbox_id: &str,
        port: u16,
        rest: &str,
    ) -> Result<Response<Body>, Refusal> {
        let unknown = Refusal::UnknownSandbox {
            status: StatusCode::SERVICE_UNAVAILABLE,
        };
        let route = self.table.find(sandbox_id).ok_or(unknown)?;
        if incarnation(request.headers_mut()).is_some_and(|meant| meant != route.incarnation) {
            return Err(Refusal::StaleIncarnation {
                current: route.incarnation,
            });
        }
        if !route.ready() {
            return Err(Refusal::NotRunning {
                status: StatusCode::SERVICE_UNAVAILABLE,
            });
        }
        if port == ENVD_PORT && !open_to_all(&request, rest) && !has_access(request.headers(), &route) {
            return Err(Refusal::Forbidden);
        }
        forward::to_guest(request, &route, port, rest).await
    }

    fn admits(&self, headers: &mut HeaderMap) -> bool {
        let identity = self.identity.read().unwrap_or_else(PoisonError::into_inner).clone();
        identity.is_none_or(|identity| identity.admits(headers))
    }
}

fn incarnation(headers: &mut HeaderMap) -> Option<u32> {
    headers.remove(INCARNATION)?.to_str().ok()?.parse().ok()
}

/// What envd lets in without the token, or looks at itself: its health, files by signed URLs, and a browser's question
/// whether it may ask.
fn open_to_all(request: &Request<Incoming>, rest: &str) -> bool {
    let path = rest.split_once('?').map_or(rest, |(path, _)| path);
    match *request.method() {
        Method::OPTIONS => true,
        Method::GET | Method::HEAD => matches!(path, "/health" | "/files"),
        Method::POST => path == "/files",
        _ => false,
    }
}

fn has_access(headers: &HeaderMap, route: &Route) -> bool {
    let token = route.access_token();
    let given = headers.get(ACCESS_TOKEN).map(HeaderValue::as_bytes).unwrap_or_default();
    !token.is_empty() && identity::same(given, token.as_bytes())
}
