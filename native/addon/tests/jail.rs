//! A process with a root of its own (VM2), as root: it sees what it was given, and nothing of the host.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    sync::mpsc::channel,
    time::Duration,
};

use wrenn_addon::process::{
    spawn::{Bind, Launch, spawn},
    watch::{Exit, watch},
};

/// A folder of the test's own, removed when it is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("wrenn-jail-{}-{name}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    /// An empty root with mount points, and with the links by which a system's programs find each other in /usr.
    fn root(&self) -> PathBuf {
        let root = self.0.join("root");
        for name in ["usr", "given", "dev"] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        fs::write(root.join("dev/null"), "").unwrap();
        for name in ["bin", "lib", "lib64"] {
            symlink(Path::new("usr").join(name), root.join(name)).unwrap();
        }
        fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).unwrap();
        root
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn exit_of(launch: &Launch) -> Exit {
    let (say, exits) = channel();
    watch(spawn(launch).unwrap(), Box::new(move |exit| say.send(exit).unwrap())).unwrap();
    exits.recv_timeout(Duration::from_secs(10)).expect("the process ends")
}

fn bind(source: impl Into<PathBuf>, target: &str, readonly: bool) -> Bind {
    Bind {
        source: source.into(),
        target: target.into(),
        readonly,
    }
}

#[test]
fn vm2_with_a_root_of_its_own_a_process_sees_what_it_was_given_and_nothing_of_the_host() {
    let folder = Folder::new("view");
    let root = folder.root();
    let given = folder.0.join("some folder");
    fs::create_dir(&given).unwrap();
    fs::write(given.join("file"), "given\n").unwrap();
    let out = folder.0.join("out");
    // What it must not see is there on the host.
    for path in ["/etc/passwd", "/proc/self/status", "/sys/kernel", "/dev/zero"] {
        assert!(Path::new(path).exists(), "{path}");
    }
    let script = "pwd; ls /; ls /dev /given; cat /given/file; \
         for path in /etc /proc /sys /tmp /root /dev/zero ../../../etc; do test -e $path && echo \"there is $path\"; done; \
         cd ../../..; pwd; touch /x /usr/x 2>/dev/null && echo writes; touch /given/own || echo cannot; \
         head -c 1 /dev/null | wc -c; chroot / true 2>/dev/null && echo changes its root; echo end";
    let launch = Launch {
        argv: ["/bin/sh", "-c", script].map(String::from).to_vec(),
        env: [("PATH".to_owned(), "/usr/bin:/usr/sbin".to_owned())].into(),
        root: Some(root.clone()),
        mounts: vec![
            bind("/usr", "/usr", true),
            bind(&given, "/given", false),
            bind("/dev/null", "/dev/null", false),
        ],
        uid: Some(1234),
        gid: Some(1234),
        stdout: Some(out.clone()),
        stderr: Some(out.clone()),
        new_session: true,
        no_new_privs: true,
        ..Launch::default()
    };
    std::os::unix::fs::chown(&given, Some(1234), None).unwrap();
    let exit = exit_of(&launch);
    let said = fs::read_to_string(&out).unwrap();
    assert_eq!(exit.code, Some(0), "{said}");
    let expected = "/\nbin\ndev\ngiven\nlib\nlib64\nusr\n/dev:\nnull\n\n/given:\nfile\ngiven\n/\n0\nend\n";
    assert_eq!(said, expected);
    assert!(given.join("own").exists(), "it writes to what it was given");
    let untouched = ["usr", "given"].map(|name| fs::read_dir(root.join(name)).unwrap().count());
    assert_eq!(untouched, [0, 0], "the mounts were the child's alone");
}

#[test]
fn vm2_a_root_or_a_program_that_is_not_there_is_told_of() {
    let folder = Folder::new("missing");
    let launch = |root: PathBuf| Launch {
        argv: vec!["/bin/sh".into()], // on the host, not in there
        root: Some(root),
        ..Launch::default()
    };
    let program = spawn(&launch(folder.0.clone()));
    assert_eq!(program.unwrap_err().code(), "not_found");
    let root = spawn(&launch(folder.0.join("none")));
    assert_eq!(root.unwrap_err().code(), "not_found");
    let mut no_target = launch(folder.root());
    no_target.mounts = vec![bind("/usr", "/no/such/folder", true)];
    assert_eq!(spawn(&no_target).unwrap_err().code(), "not_found");
}
