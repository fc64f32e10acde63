//! VM7: the filesystem service, with both codecs.

use crate::common::proto::filesystem::__buffa::oneof::watch_dir_response::Event;
use crate::common::proto::filesystem::*;
use crate::common::*;
use connectrpc::ErrorCode;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::time::Duration;

fn names(entries: &[EntryInfo]) -> Vec<&str> {
    entries.iter().map(|entry| entry.name.as_str()).collect()
}

#[tokio::test]
async fn makes_lists_moves_and_removes() {
    for codec in CODECS {
        let envd = Envd::start();
        let client = envd.files(codec);
        let make = |path: &str| MakeDirRequest {
            path: envd.path(path),
            ..Default::default()
        };
        let made = client.make_dir(make("a/b/c")).await.unwrap().into_owned();
        assert_eq!(
            (made.entry.name.as_str(), made.entry.permissions.as_str()),
            ("c", "drwxr-xr-x")
        );
        assert_eq!(
            client.make_dir(make("a/b")).await.unwrap_err().code,
            ErrorCode::AlreadyExists
        );
        fs::write(envd.path("a/file"), "12345").unwrap();
        assert_eq!(
            client.make_dir(make("a/file")).await.unwrap_err().code,
            ErrorCode::InvalidArgument
        );

        let list = |path: &str, depth| ListDirRequest {
            path: envd.path(path),
            depth,
            ..Default::default()
        };
        let shallow = client.list_dir(list("a", 0)).await.unwrap().into_owned().entries;
        assert_eq!(names(&shallow), ["b", "file"], "{codec:?}");
        let deep = client.list_dir(list("a", 2)).await.unwrap().into_owned().entries;
        assert_eq!(names(&deep), ["b", "c", "file"]);
        assert_eq!(
            (deep[2].size, deep[2].r#type.as_known()),
            (5, Some(FileType::FILE_TYPE_FILE))
        );
        assert!(deep[2].modified_time.seconds > 1_700_000_000);
        symlink("a", envd.path("link")).unwrap();
        let linked = client.list_dir(list("link", 1)).await.unwrap().into_owned().entries;
        assert_eq!(
            linked[1].path,
            envd.path("link/file"),
            "paths are those that were asked for"
        );
        assert_eq!(
            client.list_dir(list("a/file", 1)).await.unwrap_err().code,
            ErrorCode::InvalidArgument
        );
        assert_eq!(
            client.list_dir(list("none", 1)).await.unwrap_err().code,
            ErrorCode::NotFound
        );

        let rename = |source: &str, destination: &str| MoveRequest {
            source: envd.path(source),
            destination: envd.path(destination),
            ..Default::default()
        };
        let moved = client
            .r#move(rename("a/file", "new/parents/moved"))
            .await
            .unwrap()
            .into_owned();
        assert_eq!(moved.entry.path, envd.path("new/parents/moved"));
        assert_eq!(
            client.r#move(rename("a/file", "x")).await.unwrap_err().code,
            ErrorCode::NotFound
        );

        let remove = |path: &str| RemoveRequest {
            path: envd.path(path),
            ..Default::default()
        };
        client.remove(remove("link")).await.unwrap();
        assert!(fs::exists(envd.path("a")).unwrap(), "a link is removed itself");
        client.remove(remove("a")).await.unwrap();
        client.remove(remove("a")).await.unwrap();
        let stat = |path: &str| StatRequest {
            path: envd.path(path),
            ..Default::default()
        };
        assert_eq!(client.stat(stat("a")).await.unwrap_err().code, ErrorCode::NotFound);
        assert_eq!(client.stat(stat("new")).await.unwrap().into_owned().entry.name, "new");
    }
}

#[tokio::test]
async fn new_directories_belong_to_the_user() {
    let envd = Envd::start();
    let request = MakeDirRequest {
        path: envd.path("x/y"),
        ..Default::default()
    };
    let made = envd
        .files(Codec::Json)
        .make_dir_with_options(request, user("nobody"))
        .await
        .unwrap()
        .into_owned();
    assert_eq!(made.entry.owner, "nobody");
    assert_eq!(fs::metadata(envd.path("x")).unwrap().uid(), 65534);
    let request = StatRequest {
        path: "~other/x".into(),
        ..Default::default()
    };
    assert_eq!(
        envd.files(Codec::Json).stat(request).await.unwrap_err().code,
        ErrorCode::InvalidArgument
    );
}

#[tokio::test]
async fn a_watch_streams_changes_and_signs_of_life() {
    let envd = Envd::start();
    fs::create_dir(envd.path("w")).unwrap();
    for codec in CODECS {
        let client = envd.files(codec);
        let request = WatchDirRequest {
            path: envd.path("w"),
            recursive: true,
            include_entry: true,
            ..Default::default()
        };
        let options = connectrpc::client::CallOptions::default().with_header("keepalive-ping-interval", "1");
        let mut stream = client.watch_dir_with_options(request, options).await.unwrap();
        let mut next = async || {
            stream
                .message::<WatchDirResponse>()
                .await
                .unwrap()
                .unwrap()
                .to_owned_message()
                .event
                .clone()
        };
        assert!(matches!(next().await, Some(Event::Start(_))), "{codec:?}");
        assert!(matches!(next().await, Some(Event::Keepalive(_))));
        fs::create_dir(envd.path("w/sub")).unwrap();
        let Some(Event::Filesystem(event)) = next().await else {
            panic!("{codec:?}")
        };
        assert_eq!(
            (event.name.as_str(), event.r#type.as_known()),
            ("sub", Some(EventType::EVENT_TYPE_CREATE))
        );
        assert_eq!(event.entry.path, envd.path("w/sub"));
        fs::write(envd.path("w/sub/file"), "x").unwrap();
        let Some(Event::Filesystem(event)) = next().await else {
            panic!("{codec:?}")
        };
        assert_eq!(event.name, "sub/file");
        fs::remove_dir_all(envd.path("w/sub")).unwrap();
    }
}

#[tokio::test]
async fn a_watcher_collects_between_two_looks() {
    let envd = Envd::start();
    for codec in CODECS {
        let client = envd.files(codec);
        let request = CreateWatcherRequest {
            path: envd.path(""),
            ..Default::default()
        };
        let id = client.create_watcher(request).await.unwrap().into_owned().watcher_id;
        let name = format!("{codec:?}");
        fs::write(envd.path(&name), "x").unwrap();
        fs::remove_file(envd.path(&name)).unwrap();
        let mut seen = Vec::new();
        while seen.last() != Some(&EventType::EVENT_TYPE_REMOVE) {
            let request = GetWatcherEventsRequest {
                watcher_id: id.clone(),
                ..Default::default()
            };
            for event in client.get_watcher_events(request).await.unwrap().into_owned().events {
                assert_eq!(event.name, name);
                seen.push(event.r#type.as_known().unwrap());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(seen[0], EventType::EVENT_TYPE_CREATE);
        assert!(seen.contains(&EventType::EVENT_TYPE_WRITE));
        let remove = || RemoveWatcherRequest {
            watcher_id: id.clone(),
            ..Default::default()
        };
        client.remove_watcher(remove()).await.unwrap();
        assert_eq!(
            client.remove_watcher(remove()).await.unwrap_err().code,
            ErrorCode::NotFound
        );
    }
}

#[tokio::test]
async fn only_directories_that_exist_can_be_watched() {
    let envd = Envd::start();
    fs::write(envd.path("file"), "").unwrap();
    let client = envd.files(Codec::Json);
    let create = |path: &str| CreateWatcherRequest {
        path: envd.path(path),
        ..Default::default()
    };
    assert_eq!(
        client.create_watcher(create("file")).await.unwrap_err().code,
        ErrorCode::InvalidArgument
    );
    assert_eq!(
        client.create_watcher(create("none")).await.unwrap_err().code,
        ErrorCode::NotFound
    );
}
