//! The Connect service `process.Process`.

use super::feed::{self, Reader};
use super::{lifecycle, terminal};
use crate::fault::Fault;
use crate::guest::Guest;
use crate::proto::process::__buffa::oneof::stream_input_request::Event as InputEvent;
use crate::proto::process::*;
use connectrpc::{InboundStream, RequestContext, Response, ServiceRequest, ServiceResult, ServiceStream};
use futures::StreamExt;
use rustix::process::Signal as OsSignal;
use std::sync::Arc;

/// Asks `Connect` for the output of the past, too.
const REPLAY_HEADER: &str = "x-wrenn-replay";

pub struct ProcessService {
    guest: Arc<Guest>,
}

impl ProcessService {
    pub fn new(guest: Arc<Guest>) -> Self {
        Self { guest }
    }

    fn find_live(&self, selector: &ProcessSelector) -> Result<Arc<super::running::Running>, Fault> {
        self.guest.processes.find_live(selector)
    }
}

// The generated trait lets an implementation say what it returns.
#[allow(refining_impl_trait)]
impl Process for ProcessService {
    async fn list(
        &self,
        _ctx: RequestContext,
        _request: ServiceRequest<'_, ListRequest>,
    ) -> ServiceResult<ListResponse> {
        let processes = self
            .guest
            .processes
            .live()
            .iter()
            .map(|process| process.info())
            .collect();
        Response::ok(ListResponse {
            processes,
            ..Default::default()
        })
    }

    async fn connect(
        &self,
        ctx: RequestContext,
        request: ServiceRequest<'_, ConnectRequest>,
    ) -> ServiceResult<ServiceStream<ConnectResponse>> {
        let process = self.guest.processes.find(&request.to_owned_message().process)?;
        let replay = ctx.header(REPLAY_HEADER).is_some_and(|value| value == "1");
        let subscription = process.outlet.subscribe(replay);
        let keepalive = feed::keepalive_interval(ctx.headers());
        let events = feed::events(
            process,
            subscription,
            Reader {
                keepalive,
                owns_deadline: false,
            },
        );
        Response::ok(Box::pin(events.map(|event| {
            event.map(|event| ConnectResponse {
                event: event.into(),
                ..Default::default()
            })
        })))
    }

    async fn start(
        &self,
        ctx: RequestContext,
        request: ServiceRequest<'_, StartRequest>,
    ) -> ServiceResult<ServiceStream<StartResponse>> {
        let user = self.guest.rpc_user(ctx.headers())?;
        let launch = lifecycle::launch(self.guest.clone(), request.to_owned_message(), user, ctx.deadline());
        let (process, subscription) = launch.await?;
        let keepalive = feed::keepalive_interval(ctx.headers());
        let events = feed::events(
            process,
            subscription,
            Reader {
                keepalive,
                owns_deadline: true,
            },
        );
        Response::ok(Box::pin(events.map(|event| {
            event.map(|event| StartResponse {
                event: event.into(),
                ..Default::default()
            })
        })))
    }

    async fn update(
        &self,
        _ctx: RequestContext,
        request: ServiceRequest<'_, UpdateRequest>,
    ) -> ServiceResult<UpdateResponse> {
        let request = request.to_owned_message();
        let process = self.find_live(&request.process)?;
        if let Some(size) = request.pty.into_option().and_then(|pty| pty.size.into_option()) {
            terminal::resize(process.input.as_terminal()?.get_ref(), &size)?;
        }
        Response::ok(UpdateResponse::default())
    }

    /// The first message names the process, the others carry its input; each is written before the next is read.
    async fn stream_input(
        &self,
        _ctx: RequestContext,
        mut requests: InboundStream<StreamInputRequest>,
    ) -> ServiceResult<StreamInputResponse> {
        let mut process = None;
        while let Some(message) = requests.next().await {
            match (message?.to_owned_message().event, &process) {
                (Some(InputEvent::Start(start)), None) => process = Some(self.find_live(&start.process)?),
                (Some(InputEvent::Start(_)), Some(_)) => return Err(Fault::invalid("a second start message").into()),
                (Some(InputEvent::Data(data)), Some(process)) => {
                    process.input.send(data.input.into_option().unwrap_or_default()).await?;
                }
                (Some(InputEvent::Data(_)), None) => {
                    return Err(Fault::invalid("the first message must be start").into());
                }
                (Some(InputEvent::Keepalive(_)) | None, _) => {}
            }
        }
        Response::ok(StreamInputResponse::default())
    }

    async fn send_input(
        &self,
        _ctx: RequestContext,
        request: ServiceRequest<'_, SendInputRequest>,
    ) -> ServiceResult<SendInputResponse> {
        let request = request.to_owned_message();
        let process = self.find_live(&request.process)?;
        process
            .input
            .send(request.input.into_option().unwrap_or_default())
            .await?;
        Response::ok(SendInputResponse::default())
    }

    async fn send_signal(
        &self,
        _ctx: RequestContext,
        request: ServiceRequest<'_, SendSignalRequest>,
    ) -> ServiceResult<SendSignalResponse> {
        let request = request.to_owned_message();
        let process = self.find_live(&request.process)?;
        let signal = match request.signal.as_known() {
            Some(Signal::SIGNAL_SIGKILL) => OsSignal::KILL,
            Some(Signal::SIGNAL_SIGTERM) => OsSignal::TERM,
            _ => return Err(Fault::invalid(format!("invalid signal {}", request.signal.to_i32())).into()),
        };
        process.tree.signal(signal);
        Response::ok(SendSignalResponse::default())
    }

    async fn close_stdin(
        &self,
        _ctx: RequestContext,
        request: ServiceRequest<'_, CloseStdinRequest>,
    ) -> ServiceResult<CloseStdinResponse> {
        let process = self.find_live(&request.to_owned_message().process)?;
        process.input.close().await?;
        Response::ok(CloseStdinResponse::default())
    }
}
