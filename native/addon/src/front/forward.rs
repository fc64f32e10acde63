//! One request passed on to where it belongs, and its answer back.

use hyper::{
    Request, Response, StatusCode, Uri, Version,
    body::Incoming,
    header::{EXPECT, HOST, HeaderValue},
    upgrade::OnUpgrade,
};
use hyper_util::{
    client::legacy::{Client, connect::Connect},
    rt::TokioIo,
};
use tokio::io::copy_bidirectional;
use tokio_util::sync::CancellationToken;

use super::{
    body::Body,
    headers,
    refusal::{ERROR_CODE, Refusal},
    route::{OpenStream, Route},
};

/// To a port of a sandbox. `rest` is path and query.
pub async fn to_guest(
    mut request: Request<Incoming>,
    route: &Route,
    port: u16,
    rest: &str,
) -> Result<Response<Body>, Refusal> {
    let open = OpenStream::on(route);
    if !route.ready() {
        // It was closed after the look at it: whoever waits for the end of what is open must not miss this request.
        return Err(Refusal::NotRunning {
            status: StatusCode::SERVICE_UNAVAILABLE,
        });
    }
    let slash = if rest.starts_with('/') { "" } else { "/" };
    let uri = format!("http://{}:{port}{slash}{rest}", route.guest_ip);
    let uri = Uri::try_from(uri).map_err(|_| Refusal::NotFound("the address is malformed"))?;
    let protocol = prepare(&mut request, uri);
    let client_side = protocol.is_some().then(|| hyper::upgrade::on(&mut request));

    let answer = route.client.request(request.map(Body::passed));
    let mut response = tokio::select! {
        answer = answer => answer.map_err(|_| Refusal::GuestUnreachable)?,
        () = route.activity.deleted.cancelled() => return Err(Refusal::GuestUnreachable),
    };
    // That header says that the front refused; a guest may not say so.
    response.headers_mut().remove(ERROR_CODE);
    match client_side.filter(|_| response.status() == StatusCode::SWITCHING_PROTOCOLS) {
        Some(client_side) => Ok(switch(
            response,
            client_side,
            Some(open),
            route.activity.deleted.clone(),
        )),
        None => Ok(finish(response, |body| Body::counted(body, open))),
    }
}

/// To the agent's Connect service.
pub async fn to_agent<C>(mut request: Request<Incoming>, client: &Client<C, Body>) -> Result<Response<Body>, Refusal>
where
    C: Connect + Clone + Send + Sync + 'static,
{
    let rest = request.uri().path_and_query().map_or("/", |found| found.as_str());
    let uri =
        Uri::try_from(format!("http://agent{rest}")).map_err(|_| Refusal::NotFound("the address is malformed"))?;
    let protocol = prepare(&mut request, uri);
    let client_side = protocol.is_some().then(|| hyper::upgrade::on(&mut request));
    let response = client
        .request(request.map(Body::passed))
        .await
        .map_err(|_| Refusal::AgentUnreachable)?;
    match client_side.filter(|_| response.status() == StatusCode::SWITCHING_PROTOCOLS) {
        Some(client_side) => Ok(switch(response, client_side, None, CancellationToken::new())),
        None => Ok(finish(response, Body::passed)),
    }
}

/// Makes a request one for the next hop, which speaks HTTP/1.1 whatever this one spoke.
fn prepare(request: &mut Request<Incoming>, uri: Uri) -> Option<HeaderValue> {
    let protocol = headers::upgrade(request.headers()).filter(|_| request.version() == Version::HTTP_11);
    headers::for_next_hop(request.headers_mut(), protocol.clone());
    // Answered by hyper as soon as the body is read.
    request.headers_mut().remove(EXPECT);
    if !request.headers().contains_key(HOST)
        && let Some(host) = request
            .uri()
            .authority()
            .and_then(|authority| HeaderValue::from_str(authority.as_str()).ok())
    {
        request.headers_mut().insert(HOST, host); // HTTP/2 has it in the address
    }
    *request.uri_mut() = uri;
    *request.version_mut() = Version::HTTP_11;
    protocol
}

fn finish(mut response: Response<Incoming>, body: impl FnOnce(Incoming) -> Body) -> Response<Body> {
    headers::for_next_hop(response.headers_mut(), None);
    *response.version_mut() = Version::default();
    response.map(body)
}

/// Both sides have agreed to speak something else: from now on bytes are carried both ways until an end closes, or the
/// sandbox goes.
fn switch(
    mut response: Response<Incoming>,
    client_side: OnUpgrade,
    open: Option<OpenStream>,
    deleted: CancellationToken,
) -> Response<Body> {
    let protocol = headers::upgrade(response.headers());
    let guest_side = hyper::upgrade::on(&mut response);
    tokio::spawn(async move {
        let carry = async {
            let (client, guest) = tokio::try_join!(client_side, guest_side).ok()?;
            copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(guest))
                .await
                .ok()
        };
        // An end that breaks off is not our failure: the other learns it by its connection closing.
        tokio::select! {
            _ = carry => {}
            () = deleted.cancelled() => {}
        }
        drop(open);
    });
    headers::for_next_hop(response.headers_mut(), protocol);
    response.map(|_| Body::own(""))
}
