//! Everything stands still while the host makes a snapshot, and a clone becomes somebody else before it goes on (SN1, SN11).

use crate::auth;
use crate::fault::{Fault, Kind};
use std::sync::Mutex;
use tokio::sync::watch;

/// Whether requests may go on, and which connections must end.
#[derive(Clone, Copy, Default)]
struct Standing {
    frozen: bool,
    freezes: u64,
    /// Connections made before this freeze are not ours: their other ends belong to what this guest was cloned from.
    inherited_before: u64,
}

pub struct Freezer {
    /// Whoever freezes or thaws holds it: one that is given up is undone before the next begins.
    pub turn: tokio::sync::Mutex<()>,
    /// Of the present freeze.
    key: Mutex<Option<String>>,
    standing: watch::Sender<Standing>,
}

/// When a connection was made, counted in freezes.
#[derive(Clone)]
pub struct Birth {
    freezes: u64,
    standing: watch::Receiver<Standing>,
}

impl Freezer {
    pub fn new() -> Self {
        Self {
            turn: tokio::sync::Mutex::default(),
            key: Mutex::default(),
            standing: watch::Sender::new(Standing::default()),
        }
    }

    /// False: it is frozen with this key already.
    pub fn freeze(&self, key: &str) -> Result<bool, Fault> {
        if key.is_empty() {
            return Err(Fault::invalid("thaw_key is empty"));
        }
        let mut present = self.key.lock().unwrap();
        if let Some(present) = &*present {
            return match auth::same_secret(present, key) {
                true => Ok(false),
                false => Err(Fault::new(Kind::AlreadyExists, "another freeze is under way")),
            };
        }
        *present = Some(key.to_owned());
        self.standing.send_modify(|standing| {
            standing.frozen = true;
            standing.freezes += 1;
        });
        Ok(true)
    }

    /// Whether this key may thaw: false where nothing is frozen.
    pub fn check(&self, key: &str) -> Result<bool, Fault> {
        match &*self.key.lock().unwrap() {
            None => Ok(false),
            Some(present) if auth::same_secret(present, key) => Ok(true),
            Some(_) => Err(Fault::new(Kind::PermissionDenied, "this is not the key of the freeze")),
        }
    }

    /// Lets requests go on.
    pub fn thaw(&self) {
        *self.key.lock().unwrap() = None;
        self.standing.send_modify(|standing| standing.frozen = false);
    }

    /// Ends the connections that were there before the freeze.
    pub fn end_inherited_connections(&self) {
        self.standing
            .send_modify(|standing| standing.inherited_before = standing.freezes);
    }

    /// Waits while the guest is not frozen.
    pub async fn frozen(&self) {
        let mut standing = self.standing.subscribe();
        let _ = standing.wait_for(|standing| standing.frozen).await;
    }

    /// Waits while the guest is frozen.
    pub async fn thawed(&self) {
        let mut standing = self.standing.subscribe();
        // The sender lives as long as we do.
        let _ = standing.wait_for(|standing| !standing.frozen).await;
    }

    pub fn birth(&self) -> Birth {
        let standing = self.standing.subscribe();
        let freezes = standing.borrow().freezes;
        Birth { freezes, standing }
    }
}

impl Birth {
    /// Waits until this connection turns out to be one of another guest.
    pub async fn inherited(mut self) {
        let freezes = self.freezes;
        if self
            .standing
            .wait_for(|standing| standing.inherited_before > freezes)
            .await
            .is_err()
        {
            std::future::pending().await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_connections_from_before_the_freeze_are_inherited() {
        let freezer = Freezer::new();
        let before = freezer.birth();
        assert!(freezer.freeze("k").unwrap());
        let after = freezer.birth();
        freezer.end_inherited_connections();
        before.inherited().await;
        assert!(!after.standing.borrow().inherited_before.gt(&after.freezes));
    }

    #[test]
    fn one_key_freezes_and_thaws() {
        let freezer = Freezer::new();
        assert!(!freezer.check("k").unwrap(), "nothing is frozen");
        assert!(freezer.freeze("k").unwrap());
        assert!(!freezer.freeze("k").unwrap(), "the same again");
        assert_eq!(freezer.freeze("other").unwrap_err().kind, Kind::AlreadyExists);
        assert_eq!(freezer.check("other").unwrap_err().kind, Kind::PermissionDenied);
        assert!(freezer.check("k").unwrap());
        freezer.thaw();
        assert!(freezer.freeze("other").unwrap());
    }
}
