//! The gateway's port (PX1, PX2). What JavaScript says of sandboxes is kept until it takes it back.

use std::{sync::Arc, time::Duration};

use napi::{Env, bindgen_prelude::Object};
use napi_derive::napi;

use super::{RUNTIME, into_js, promise};
use crate::door::server::{self, DoorOptions};

#[napi(object)]
pub struct DoorSpec {
    /// `ip:port`; port 0 takes a free one.
    pub address: String,
    /// Unix socket of the HTTP server that has the API and answers the door's questions.
    pub api: String,
    /// `.domain` of the sandboxes' host names, lower case, without a port.
    pub suffix: String,
    /// Comes with each question (`wrenn-ask: <token> …`), so that no client can ask one.
    pub token: String,
    /// Requests and sockets that may be open to one sandbox.
    pub limit: u32,
}

/// A listening door.
#[napi]
pub struct Door {
    door: Arc<server::Door>,
}

#[napi]
impl Door {
    #[napi(getter)]
    pub fn port(&self) -> u16 {
        self.door.address().port()
    }

    /// The same over TLS; PEM. Returns the port. Throws where the files do not fit, and `listen_failed`.
    #[napi]
    pub fn listen_tls(&self, env: &Env, address: String, certificate: String, key: String) -> napi::Result<u16> {
        self.door
            .listen_tls(&address, &certificate, &key)
            .map_err(|failure| into_js(env, &failure))
    }

    /// From the next connection on. Throws where the two do not fit: then nothing changes.
    #[napi]
    pub fn set_certificate(&self, env: &Env, certificate: String, key: String) -> napi::Result<()> {
        self.door
            .set_certificate(&certificate, &key)
            .map_err(|failure| into_js(env, &failure))
    }

    /// Nothing that was said of this sandbox holds any more.
    #[napi]
    pub fn forget(&self, sandbox_id: String) {
        self.door.ways.forget(&sandbox_id);
    }

    #[napi]
    pub fn forget_all(&self) {
        self.door.ways.forget_all();
    }

    /// Takes no new connections and ends those that wait, and the WebSockets of sandboxes.
    #[napi]
    pub fn stop(&self) {
        self.door.stop();
    }

    /// Waits until no request is under way. False: some were after `limitMs`.
    #[napi(ts_return_type = "Promise<boolean>")]
    pub fn drain<'env>(&self, env: &'env Env, limit_ms: u32) -> napi::Result<Object<'env>> {
        let house = self.door.house();
        promise(env, move || {
            let limit = Duration::from_millis(limit_ms.into());
            Ok(RUNTIME.block_on(server::Door::drain(house, limit)))
        })
    }

    /// Ends every connection.
    #[napi]
    pub fn close(&self) {
        self.door.close();
    }
}

/// Starts to listen. Rejects with `listen_failed`.
#[napi(ts_return_type = "Promise<Door>")]
pub fn door_listen<'env>(env: &'env Env, spec: DoorSpec) -> napi::Result<Object<'env>> {
    promise(env, move || {
        let options = DoorOptions {
            address: spec.address,
            api: spec.api.into(),
            suffix: spec.suffix,
            token: spec.token,
            limit: spec.limit,
        };
        Ok(Door {
            door: Arc::new(server::Door::listen(options)?),
        })
    })
}
