//! One process, from its start until half a minute after its end.

use super::input::Input;
use super::outlet::Outlet;
use super::tree::Tree;
use crate::proto::process::{ProcessConfig, ProcessInfo};
use std::sync::Arc;

pub struct Running {
    pub pid: u32,
    /// As it was asked for.
    pub config: ProcessConfig,
    pub tag: Option<String>,
    pub input: Input,
    pub outlet: Arc<Outlet>,
    pub tree: Tree,
}

impl Running {
    /// False once its end is told.
    pub fn is_live(&self) -> bool {
        self.outlet.ending().is_none()
    }

    pub fn info(&self) -> ProcessInfo {
        ProcessInfo {
            config: self.config.clone().into(),
            pid: self.pid,
            tag: self.tag.clone(),
            ..Default::default()
        }
    }
}
