//! The Connect service `filesystem.Filesystem`.

use super::watch::{Options, Watch};
use super::{entry, list, mounts, moving, owned};
use crate::fault::{Fault, Kind};
use crate::guest::Guest;
use crate::process::feed::keepalive_interval;
use crate::proto::filesystem::*;
use crate::users::{Names, User};
use connectrpc::{ConnectError, RequestContext, Response, ServiceRequest, ServiceResult, ServiceStream};
use futures::stream;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub struct FilesystemService {
    guest: Arc<Guest>,
}

impl FilesystemService {
    pub fn new(guest: Arc<Guest>) -> Self {
        Self { guest }
    }

    fn locate(&self, ctx: &RequestContext, path: &str) -> Result<(PathBuf, User), Fault> {
        let user = self.guest.rpc_user(ctx.headers())?;
        Ok((self.guest.resolve(path, &user)?, user))
    }

    fn watch(&self, ctx: &RequestContext, path: &str, options: Options) -> Result<Watch, Fault> {
        let (path, _) = self.locate(ctx, path)?;
        let about = fs::metadata(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Fault::not_found(format!("path '{}' does not exist", path.display())),
            _ => Fault::io(format!("cannot watch '{}'", path.display()), &error),
        })?;
        if !about.is_dir() {
            return Err(Fault::invalid(format!("path '{}' is not a directory", path.display())));
        }
        if !options.network_mounts {
            mounts::check_local(&path)?;
        }
        Watch::new(path, options)
    }
}

/// Work that may take long goes to a helper thread; the one thread serves others meanwhile.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> Result<T, Fault> + Send + 'static) -> Result<T, Fault> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Fault::internal(error.to_string()))?
}

fn described(path: &Path) -> Result<EntryInfo, Fault> {
    entry::describe(path, &Names::load())
}

// The generated trait lets an implementation say what it returns.
#[allow(refining_impl_trait)]
impl Filesystem for FilesystemService {
    async fn stat(&self, ctx: RequestContext, request: ServiceRequest<'_, StatRequest>) -> ServiceResult<StatResponse> {
        let (path, _) = self.locate(&ctx, request.path)?;
        Response::ok(StatResponse {
            entry: described(&path)?.into(),
            ..Default::default()
        })
    }

    async fn make_dir(
        &self,
        ctx: RequestContext,
        request: ServiceRequest<'_, MakeDirRequest>,
    ) -> ServiceResult<MakeDirResponse> {
        let (path, user) = self.locate(&ctx, request.path)?;
        if fs::metadata(&path).is_ok_and(|about| about.is_dir()) {
            let message = format!("directory '{}' already exists", path.display());
            return Err(Fault::new(Kind::AlreadyExists, message).into());
        }
        owned::make_dirs(&path, &user)?;
        Response::ok(MakeDirResponse {
            entry: described(&path)?.into(),
            ..Default::default()
        })
    }

    async fn r#move(
        &self,
        ctx: RequestContext,
        request: ServiceRequest<'_, MoveRequest>,
    ) -> ServiceResult<MoveResponse> {
        let (source, user) = self.locate(&ctx, request.source)?;
        let (destination, _) = self.locate(&ctx, request.destination)?;
        let entry = aside(move || {
            moving::rename(&source, &destination, &user)?;
            described(&destination)
        });
        Response::ok(MoveResponse {
            entry: entry.await?.into(),
            ..Default::default()
        })
    }

    async fn list_dir(
        &self,
        ctx: RequestContext,
        request: ServiceRequest<'_, ListDirRequest>,
    ) -> ServiceResult<ListDirResponse> {
        let (path, _) = self.locate(&ctx, request.path)?;
        let depth = request.depth;
        let entries = aside(move || list::list(&path, depth)).await?;
        Response::ok(ListDirResponse {
            entries,
            ..Default::default()
        })
    }

    async fn remove(
        &self,
        ctx: RequestContext,
        request: ServiceRequest<'_, RemoveRequest>,
    ) -> ServiceResult<RemoveResponse> {
        let (path, _) = self.locate(&ctx, request.path)?;
        aside(move || moving::remove(&path)).await?;
        Response::ok(RemoveResponse::default())
    }

    async fn watch_dir(
        &self,
        ctx: RequestContext,
        request: ServiceRequest<'_, WatchDirRequest>,
    ) -> ServiceResult<ServiceStream<WatchDirResponse>> {
        let options = Options {
            recursive: request.recursive,
            include_entry: request.include_entry,
            network_mounts: request.allow_network_mounts,
        };
        let watch = self.watch(&ctx, request.path, options)?;
        let keepalive = keepalive_interval(ctx.headers());
        let started = WatchDirResponse {
            event: Some(watch_dir_response::StartEvent::default().into()),
            ..Default::default()
        };
        let events = stream::unfold(Some((watch, keepalive)), async |state| {
            let (mut watch, mut keepalive) = state?;
            let event = tokio::select! {
                biased;
                event = watch.next() => event.map(watch_dir_response::Event::from),
                _ = keepalive.tick() => Ok(watch_dir_response::KeepAlive::default().into()),
            };
            match event {
                Ok(event) => {
                    keepalive.reset();
                    Some((
                        Ok(WatchDirResponse {
                            event: Some(event),
                            ..Default::default()
                        }),
                        Some((watch, keepalive)),
                    ))
                }
                Err(fault) => Some((Err(ConnectError::from(fault)), None)),
            }
        });
        Response::ok(Box::pin(futures::StreamExt::chain(stream::iter([Ok(started)]), events)))
    }

    async fn create_watcher(
        &self,
        ctx: RequestContext,
        request: ServiceRequest<'_, CreateWatcherRequest>,
    ) -> ServiceResult<CreateWatcherResponse> {
        let options = Options {
            recursive: request.recursive,
            include_entry: request.include_entry,
            network_mounts: request.allow_network_mounts,
        };
        let watch = self.watch(&ctx, request.path, options)?;
        let watcher_id = self.guest.watchers.add(watch);
        Response::ok(CreateWatcherResponse {
            watcher_id,
            ..Default::default()
        })
    }

    async fn get_watcher_events(
        &self,
        _ctx: RequestContext,
        request: ServiceRequest<'_, GetWatcherEventsRequest>,
    ) -> ServiceResult<GetWatcherEventsResponse> {
        let events = self.guest.watchers.take_events(request.watcher_id)?;
        Response::ok(GetWatcherEventsResponse {
            events,
            ..Default::default()
        })
    }

    async fn remove_watcher(
        &self,
        _ctx: RequestContext,
        request: ServiceRequest<'_, RemoveWatcherRequest>,
    ) -> ServiceResult<RemoveWatcherResponse> {
        self.guest.watchers.remove(request.watcher_id)?;
        Response::ok(RemoveWatcherResponse::default())
    }
}
