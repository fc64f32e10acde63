//! Watches a directory with inotify, with everything beneath it if asked.
//!
//! inotify watches single directories. For a whole tree, each new directory gets a watch of its own, and what was put
//! in it before the watch stood is told as created.

use super::entry;
use crate::descriptor;
use crate::fault::{Fault, Kind};
use crate::proto::filesystem::{EventType, FilesystemEvent};
use crate::users::Names;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use std::collections::{HashMap, HashSet, VecDeque};
use std::ffi::OsStr;
use std::fs;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Events read from the kernel at once.
const BUFFER: usize = 16 << 10;

#[derive(Clone, Copy)]
pub struct Options {
    pub recursive: bool,
    pub include_entry: bool,
    pub network_mounts: bool,
}

pub struct Watch {
    root: PathBuf,
    options: Options,
    inotify: AsyncFd<OwnedFd>,
    /// Watch descriptor → directory, relative to the root.
    directories: HashMap<i32, PathBuf>,
    /// Told as created when their directory was found; the kernel may tell them again.
    found: HashSet<PathBuf>,
    waiting: VecDeque<FilesystemEvent>,
}

impl Watch {
    pub fn new(root: PathBuf, options: Options) -> Result<Self, Fault> {
        let fail = |error: Errno| Fault::io(format!("cannot watch '{}'", root.display()), &error.into());
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map_err(fail)?;
        let inotify =
            descriptor::watch(inotify, Interest::READABLE).map_err(|error| Fault::io("cannot watch", &error))?;
        let mut watch = Self {
            root,
            options,
            inotify,
            directories: HashMap::new(),
            found: HashSet::new(),
            waiting: VecDeque::new(),
        };
        watch.add(PathBuf::new(), false)?;
        Ok(watch)
    }

    /// The next change. May be cancelled without losing one. A fault ends the watch.
    pub async fn next(&mut self) -> Result<FilesystemEvent, Fault> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Ok(event);
            }
            let mut ready = self
                .inotify
                .readable()
                .await
                .map_err(|error| Fault::io("cannot watch", &error))?;
            ready.clear_ready();
            drop(ready);
            self.read()?;
        }
    }

    /// Takes all that the kernel has.
    fn read(&mut self) -> Result<(), Fault> {
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        let mut told = Vec::new();
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        loop {
            match reader.next() {
                Ok(event) => {
                    let name = event
                        .file_name()
                        .map(|name| OsStr::from_bytes(name.to_bytes()).to_owned());
                    told.push((event.wd(), event.events(), name));
                }
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(error) => return Err(Fault::io("cannot watch", &error.into())),
            }
        }
        for (descriptor, flags, name) in told {
            self.take(descriptor, flags, name.as_deref())?;
        }
        // A repetition comes with the next events or not at all.
        if self.waiting.is_empty() {
            self.found.clear();
        }
        Ok(())
    }

    fn take(&mut self, descriptor: i32, flags: ReadFlags, name: Option<&OsStr>) -> Result<(), Fault> {
        if flags.contains(ReadFlags::QUEUE_OVERFLOW) {
            return Err(Fault::new(Kind::DataLoss, "too many changes at once, some were lost"));
        }
        if flags.contains(ReadFlags::IGNORED) {
            self.directories.remove(&descriptor);
            return Ok(());
        }
        let Some(directory) = self.directories.get(&descriptor) else {
            return Ok(());
        };
        let path = match name {
            Some(name) => directory.join(name),
            // Events of a directory itself are told by its parent; only the root has none.
            None if directory.as_os_str().is_empty() => PathBuf::from("."),
            None => return Ok(()),
        };
        let is_directory = flags.contains(ReadFlags::ISDIR);
        if is_directory && flags.contains(ReadFlags::MOVED_FROM) {
            self.forget(&path);
        }
        let Some(kind) = event_type(flags) else { return Ok(()) };
        if kind == EventType::EVENT_TYPE_CREATE && self.found.remove(&path) {
            return Ok(());
        }
        self.tell(&path, kind);
        if is_directory && kind == EventType::EVENT_TYPE_CREATE && self.options.recursive {
            self.add(path, true)?;
        }
        Ok(())
    }

    /// Watches a directory, and what is beneath it in a recursive watch; `tell` says that its content is new.
    fn add(&mut self, directory: PathBuf, tell: bool) -> Result<(), Fault> {
        let real = self.root.join(&directory);
        let flags = WatchFlags::CREATE
            | WatchFlags::MODIFY
            | WatchFlags::ATTRIB
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::DELETE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        match inotify::add_watch(&self.inotify, &real, flags) {
            Ok(descriptor) => self.directories.insert(descriptor, directory.clone()),
            // It vanished meanwhile, which is told as well.
            Err(Errno::NOENT | Errno::NOTDIR) if tell => return Ok(()),
            Err(error) => return Err(Fault::io(format!("cannot watch '{}'", real.display()), &error.into())),
        };
        if !self.options.recursive {
            return Ok(());
        }
        for child in fs::read_dir(&real).into_iter().flatten().flatten() {
            let path = directory.join(child.file_name());
            if tell {
                self.tell(&path, EventType::EVENT_TYPE_CREATE);
                self.found.insert(path.clone());
            }
            if child.file_type().is_ok_and(|kind| kind.is_dir()) {
                self.add(path, tell)?;
            }
        }
        Ok(())
    }

    /// Ends the watches of a directory that was moved away; moved within the tree it is found anew.
    fn forget(&mut self, directory: &Path) {
        let gone = self.directories.iter().filter(|(_, path)| path.starts_with(directory));
        for descriptor in gone.map(|(descriptor, _)| *descriptor).collect::<Vec<_>>() {
            let _ = inotify::remove_watch(&self.inotify, descriptor);
            self.directories.remove(&descriptor);
        }
    }

    fn tell(&mut self, path: &Path, kind: EventType) {
        use EventType::{EVENT_TYPE_CHMOD, EVENT_TYPE_CREATE, EVENT_TYPE_WRITE};
        let wanted =
            self.options.include_entry && matches!(kind, EVENT_TYPE_CREATE | EVENT_TYPE_WRITE | EVENT_TYPE_CHMOD);
        let entry = wanted
            .then(|| entry::describe(&self.root.join(path), &Names::load()).ok())
            .flatten();
        self.waiting.push_back(FilesystemEvent {
            name: path.to_string_lossy().into_owned(),
            r#type: kind.into(),
            entry: entry.into(),
            ..Default::default()
        });
    }
}

fn event_type(flags: ReadFlags) -> Option<EventType> {
    let any = |wanted: ReadFlags| flags.intersects(wanted);
    Some(match () {
        _ if any(ReadFlags::CREATE | ReadFlags::MOVED_TO) => EventType::EVENT_TYPE_CREATE,
        _ if any(ReadFlags::MODIFY) => EventType::EVENT_TYPE_WRITE,
        _ if any(ReadFlags::DELETE | ReadFlags::DELETE_SELF) => EventType::EVENT_TYPE_REMOVE,
        _ if any(ReadFlags::MOVED_FROM | ReadFlags::MOVE_SELF) => EventType::EVENT_TYPE_RENAME,
        _ if any(ReadFlags::ATTRIB) => EventType::EVENT_TYPE_CHMOD,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn names(watch: &mut Watch, count: usize) -> Vec<(String, EventType)> {
        let mut seen = Vec::new();
        while seen.len() < count {
            let event = watch.next().await.unwrap();
            let kind = event.r#type.as_known().unwrap();
            // How often a write is told depends on how the kernel joins them.
            if seen.last() != Some(&(event.name.clone(), kind)) {
                seen.push((event.name, kind));
            }
        }
        seen
    }

    #[tokio::test]
    async fn a_tree_made_at_once_is_told_whole_and_watched() {
        use EventType::*;
        let root = std::env::temp_dir().join(format!("envd-watch-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(&root).unwrap();
        let options = Options {
            recursive: true,
            include_entry: true,
            network_mounts: false,
        };
        let mut watch = Watch::new(root.clone(), options).unwrap();
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(root.join("a/b/early"), "").unwrap();
        let told = names(&mut watch, 3).await;
        assert_eq!(
            told,
            ["a", "a/b", "a/b/early"].map(|name| (name.to_owned(), EVENT_TYPE_CREATE))
        );
        fs::write(root.join("a/b/late"), "text").unwrap();
        fs::rename(root.join("a/b"), root.join("a/c")).unwrap();
        let told = names(&mut watch, 4).await;
        assert_eq!(told[0], ("a/b/late".to_owned(), EVENT_TYPE_CREATE));
        assert_eq!(told[1], ("a/b/late".to_owned(), EVENT_TYPE_WRITE));
        assert_eq!(told[2], ("a/b".to_owned(), EVENT_TYPE_RENAME));
        assert_eq!(told[3], ("a/c".to_owned(), EVENT_TYPE_CREATE));
        fs::remove_dir_all(root).unwrap();
    }
}
