//! The routes by sandbox.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, PoisonError, RwLock},
    time::Duration,
};

use tokio::time::timeout;

use super::route::{ActivityReport, Route, RouteSpec};

/// The process's one table: every front serves it.
pub static TABLE: LazyLock<Table> = LazyLock::new(Table::default);

#[derive(Default)]
pub struct Table {
    routes: RwLock<HashMap<String, Arc<Route>>>,
}

impl Table {
    pub fn find(&self, sandbox_id: &str) -> Option<Arc<Route>> {
        self.routes
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(sandbox_id)
            .cloned()
    }

    /// Adds or changes a route. Another incarnation takes the place of the earlier one, whose connections are reset.
    pub fn set(&self, spec: &RouteSpec) {
        let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
        if routes.get(&spec.sandbox_id).is_some_and(|route| route.update(spec)) {
            return;
        }
        if let Some(earlier) = routes.insert(spec.sandbox_id.clone(), Arc::new(Route::new(spec))) {
            earlier.reset();
        }
    }

    /// Removes a route and resets its connections. False: there is none.
    pub fn delete(&self, sandbox_id: &str) -> bool {
        let removed = self
            .routes
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(sandbox_id);
        removed.inspect(|route| route.reset()).is_some()
    }

    /// Lets nothing new in.
    pub fn close(&self, sandbox_id: &str) {
        if let Some(route) = self.find(sandbox_id) {
            route.close();
        }
    }

    /// After `close`: waits until nothing is under way, at most for `limit`, and removes the route. False: something
    /// was, and has been reset.
    pub async fn drain(&self, sandbox_id: &str, limit: Duration) -> bool {
        let Some(route) = self.find(sandbox_id) else {
            return true;
        };
        let drained = timeout(limit, route.activity.idle()).await.is_ok();
        let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
        // Another incarnation may have taken its place meanwhile.
        if routes.get(sandbox_id).is_some_and(|now| Arc::ptr_eq(now, &route)) {
            routes.remove(sandbox_id);
        }
        route.reset();
        drained
    }

    /// Closes connections that nobody has used for long.
    pub fn sweep(&self) {
        for route in self.routes.read().unwrap_or_else(PoisonError::into_inner).values() {
            route.pool.sweep();
        }
    }

    /// Counts as activity (SN8). False: there is no such route.
    pub fn touch(&self, sandbox_id: &str) -> bool {
        self.find(sandbox_id).inspect(|route| route.activity.touch()).is_some()
    }

    pub fn activity(&self) -> Vec<ActivityReport> {
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        routes
            .iter()
            .map(|(sandbox_id, route)| route.activity.report(sandbox_id))
            .collect()
    }
}
