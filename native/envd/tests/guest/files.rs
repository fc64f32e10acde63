//! VM7, VM8: `/files`.

use crate::common::Envd;
use crate::common::http::{Answer, get, post, send};
use http::Method;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

const OCTETS: (&str, &str) = ("content-type", "application/octet-stream");
const FORM: (&str, &str) = ("content-type", "multipart/form-data; boundary=XX");

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn form(parts: &[(&str, &str)]) -> String {
    let part = |(disposition, content): &(&str, &str)| {
        format!("--XX\r\nContent-Disposition: form-data; {disposition}\r\n\r\n{content}\r\n")
    };
    parts.iter().map(part).collect::<String>() + "--XX--\r\n"
}

fn message(answer: &Answer) -> String {
    let body = answer.json();
    assert_eq!(body["code"], answer.status.as_u16(), "{body}");
    body["message"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn writes_and_reads_sizes_of_all_kinds() {
    let envd = Envd::start();
    for size in [0, 1, 4095, 300_000, 20_000_000] {
        let content: Vec<u8> = (0..size).map(|index: usize| (index * 31 % 251) as u8).collect();
        let target = format!("/files?path={}", envd.path(&format!("new/deep/{size}")));
        let answer = post(envd.address, &target, &[OCTETS], content.clone()).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let answer = get(envd.address, &target, &[]).await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (200, size));
        assert!(answer.body == content, "{size}");
        assert_eq!(answer.header("content-length"), Some(size.to_string().as_str()));
        assert_eq!(
            answer.header("content-disposition"),
            Some(format!("inline; filename=\"{size}\"").as_str())
        );
    }
    let mode = |name: &str| fs::metadata(envd.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("new"), mode("new/deep/1")), (0o755, 0o644));
}

#[tokio::test]
async fn answers_exactly_what_the_sdk_compares() {
    let envd = Envd::start();
    let path = envd.path("a.txt");
    let expected = serde_json::json!([{ "path": path, "name": "a.txt", "type": "file" }]);
    let target = format!("/files?path={path}");
    assert_eq!(post(envd.address, &target, &[OCTETS], "x").await.json(), expected);
    assert_eq!(
        post(envd.address, &target, &[FORM], form(&[("name=\"file\"", "x")]))
            .await
            .json(),
        expected
    );
}

#[tokio::test]
async fn a_form_may_carry_several_files_with_their_paths() {
    let envd = Envd::start();
    let (a, b) = (envd.path("a"), envd.path("sub/b"));
    let body = form(&[
        (&format!("name=\"file\"; filename=\"{a}\""), "first"),
        ("name=\"other\"", "ignored"),
        (&format!("name=\"file\"; filename=\"{b}\""), "second"),
    ]);
    let answer = post(envd.address, "/files", &[FORM], body).await;
    assert_eq!(answer.json().as_array().unwrap().len(), 2);
    assert_eq!(
        (
            fs::read_to_string(a).unwrap().as_str(),
            fs::read_to_string(b).unwrap().as_str()
        ),
        ("first", "second")
    );

    let twice = form(&[("name=\"file\"", "1"), ("name=\"file\"", "2")]);
    let answer = post(envd.address, &format!("/files?path={}", envd.path("c")), &[FORM], twice).await;
    assert_eq!(answer.status, 400);
    let answer = post(envd.address, "/files", &[FORM], form(&[("name=\"file\"", "no name")])).await;
    assert_eq!(answer.status, 400);
    let answer = post(envd.address, "/files", &[FORM], "--XX\r\nbroken").await;
    assert_eq!(answer.status, 400);
}

#[tokio::test]
async fn the_owner_is_the_user_of_the_request() {
    let envd = Envd::start();
    let answer = post(
        envd.address,
        &format!("/files?path={}&username=nobody", envd.path("d/f")),
        &[OCTETS],
        "x",
    )
    .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(fs::metadata(envd.path("d")).unwrap().uid(), 65534);
    assert_eq!(fs::metadata(envd.path("d/f")).unwrap().uid(), 65534);
    let answer = get(envd.address, "/files?path=x&username=no-such", &[]).await;
    assert_eq!(
        (answer.status.as_u16(), message(&answer)),
        (401, "invalid username: 'no-such'".into())
    );
}

#[tokio::test]
async fn gzip_goes_both_ways() {
    let envd = Envd::start();
    let text = "compressible ".repeat(100_000);
    let target = format!("/files?path={}", envd.path("z"));
    let headers = [OCTETS, ("content-encoding", "gzip")];
    assert_eq!(
        post(envd.address, &target, &headers, gzip(text.as_bytes()))
            .await
            .status,
        200
    );
    assert_eq!(fs::read_to_string(envd.path("z")).unwrap(), text);
    let body = gzip(form(&[("name=\"file\"", "in a form")]).as_bytes());
    let target_form = format!("/files?path={}", envd.path("zf"));
    assert_eq!(
        post(envd.address, &target_form, &[FORM, ("content-encoding", "gzip")], body)
            .await
            .status,
        200
    );
    assert_eq!(fs::read_to_string(envd.path("zf")).unwrap(), "in a form");

    let answer = get(envd.address, &target, &[("accept-encoding", "gzip")]).await;
    assert_eq!(answer.header("content-encoding"), Some("gzip"));
    let mut plain = String::new();
    flate2::read::GzDecoder::new(&answer.body[..])
        .read_to_string(&mut plain)
        .unwrap();
    assert!(plain == text);
    // What libraries send by default gets plain bytes, and an empty file says its length.
    let answer = get(envd.address, &target, &[("accept-encoding", "gzip, deflate, br")]).await;
    assert_eq!(
        (answer.header("content-encoding"), answer.body.len()),
        (None, text.len())
    );
    fs::write(envd.path("empty"), "").unwrap();
    let target = format!("/files?path={}", envd.path("empty"));
    let answer = get(envd.address, &target, &[("accept-encoding", "gzip")]).await;
    assert_eq!(answer.header("content-length"), Some("0"));
    let answer = get(envd.address, &target, &[("accept-encoding", "br, *;q=0")]).await;
    assert_eq!(answer.status, 406);
    assert!(message(&answer).contains("no acceptable encoding"));
    let answer = post(envd.address, &target, &[OCTETS, ("content-encoding", "br")], "x").await;
    assert_eq!(answer.status, 400);
    // Cut off in the middle: told, and no half file stays.
    let half = gzip(text.as_bytes())[..500].to_vec();
    let target = format!("/files?path={}", envd.path("half"));
    assert_eq!(
        post(envd.address, &target, &[OCTETS, ("content-encoding", "gzip")], half)
            .await
            .status,
        400
    );
    assert!(!fs::exists(envd.path("half")).unwrap());
}

#[tokio::test]
async fn ranges_and_conditions() {
    let envd = Envd::start();
    fs::write(envd.path("r"), "0123456789").unwrap();
    let target = format!("/files?path={}", envd.path("r"));
    let answer = get(envd.address, &target, &[("range", "bytes=2-4")]).await;
    assert_eq!((answer.status.as_u16(), answer.text()), (206, "234"));
    assert_eq!(answer.header("content-range"), Some("bytes 2-4/10"));
    let answer = get(envd.address, &target, &[("range", "bytes=-3")]).await;
    assert_eq!((answer.status.as_u16(), answer.text()), (206, "789"));
    let answer = get(envd.address, &target, &[("range", "bytes=20-")]).await;
    assert_eq!(answer.status, 416);
    let answer = send(envd.address, Method::HEAD, &target, &[], "").await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("content-length")),
        (200, Some("10"))
    );
    let modified = answer.header("last-modified").unwrap().to_owned();
    let answer = get(envd.address, &target, &[("if-modified-since", &modified)]).await;
    assert_eq!(answer.status, 304);
}

#[tokio::test]
async fn says_what_is_wrong_with_a_path() {
    let envd = Envd::start();
    let path = envd.path("nope");
    let answer = get(envd.address, &format!("/files?path={path}"), &[]).await;
    assert_eq!(
        (answer.status.as_u16(), message(&answer)),
        (404, format!("path '{path}' does not exist"))
    );
    let directory = envd.path("");
    let answer = get(envd.address, &format!("/files?path={directory}"), &[]).await;
    assert_eq!(answer.status, 400);
    assert!(message(&answer).ends_with("is a directory"));
    let answer = post(envd.address, &format!("/files?path={directory}"), &[OCTETS], "x").await;
    assert_eq!(answer.status, 400);
    let answer = get(envd.address, "/files?path=~root/x", &[]).await;
    assert_eq!(answer.status, 400);
    let answer = get(envd.address, "/files?path=/dev/zero", &[]).await;
    assert_eq!(answer.status, 400);
    let answer = post(envd.address, "/files", &[OCTETS], "x").await;
    assert_eq!(
        (answer.status.as_u16(), message(&answer)),
        (400, "missing query parameter 'path'".into())
    );
    // Files that the kernel makes are whole although they say 0 bytes.
    let answer = get(envd.address, "/files?path=/proc/self/status", &[]).await;
    assert!(answer.text().contains("envd"));
}

#[tokio::test]
async fn metadata_is_kept_with_the_file_and_replaced_with_it() {
    let envd = Envd::start();
    let target = format!("/files?path={}", envd.path("m"));
    let headers = [OCTETS, ("X-Metadata-Author", "me"), ("x-metadata-kind", "test")];
    let answer = post(envd.address, &target, &headers, "1").await;
    if answer.status == 500 && answer.text().contains("not supported") {
        eprintln!("skipped: no extended attributes on {}", envd.path(""));
        return;
    }
    assert_eq!(
        answer.json()[0]["metadata"],
        serde_json::json!({ "author": "me", "kind": "test" })
    );
    let answer = post(envd.address, &target, &[OCTETS, ("x-metadata-kind", "new")], "2").await;
    assert_eq!(answer.json()[0]["metadata"], serde_json::json!({ "kind": "new" }));
    let mut buffer = [0; 256];
    let length = rustix::fs::listxattr(envd.path("m"), &mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"user.e2b.kind\0");
    let large = "x".repeat(5000);
    assert_eq!(
        post(envd.address, &target, &[OCTETS, ("x-metadata-big", &large)], "3")
            .await
            .status,
        400
    );
    assert_eq!(fs::read_to_string(envd.path("m")).unwrap(), "2");
}

#[tokio::test]
async fn an_overwritten_file_keeps_its_links_and_mode() {
    let envd = Envd::start();
    fs::write(envd.path("old"), "a longer old text").unwrap();
    fs::set_permissions(envd.path("old"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::hard_link(envd.path("old"), envd.path("hard")).unwrap();
    std::os::unix::fs::symlink("old", envd.path("soft")).unwrap();
    let answer = post(
        envd.address,
        &format!("/files?path={}", envd.path("soft")),
        &[OCTETS],
        "new",
    )
    .await;
    assert_eq!(answer.status, 200);
    assert_eq!(fs::read_to_string(envd.path("hard")).unwrap(), "new");
    assert_eq!(
        fs::metadata(envd.path("old")).unwrap().permissions().mode() & 0o777,
        0o700
    );
}

#[tokio::test]
async fn a_full_disk_is_507() {
    // A file system of 1 MiB in a mount namespace that only the agent sees.
    let mut command = Command::new("unshare");
    let script = "mount -t tmpfs -o size=1m tmpfs /mnt && exec \"$@\"";
    command.args([
        "-m",
        "--propagation",
        "private",
        "sh",
        "-c",
        script,
        "sh",
        crate::common::BINARY,
    ]);
    if !Command::new("unshare")
        .args(["-m", "true"])
        .status()
        .is_ok_and(|status| status.success())
    {
        eprintln!("skipped: no mount namespaces here");
        return;
    }
    let envd = Envd::launch(command, "127.0.0.1");
    assert_eq!(
        post(envd.address, "/files?path=/mnt/old", &[OCTETS], "old")
            .await
            .status,
        200
    );
    let big = vec![7_u8; 3 << 20];
    // The size is known: the old content stays.
    let answer = post(envd.address, "/files?path=/mnt/old", &[OCTETS], big.clone()).await;
    assert_eq!(answer.status, 507);
    assert!(message(&answer).contains("not enough disk space"));
    assert_eq!(get(envd.address, "/files?path=/mnt/old", &[]).await.text(), "old");
    // It is not known: a half file does not stay.
    let headers = [OCTETS, ("content-encoding", "gzip")];
    let answer = post(envd.address, "/files?path=/mnt/new", &headers, gzip(&big)).await;
    assert_eq!(answer.status, 507, "{}", answer.text());
    assert_eq!(get(envd.address, "/files?path=/mnt/new", &[]).await.status, 404);
    assert_eq!(
        post(envd.address, "/files?path=/mnt/small", &[OCTETS], "fits")
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn several_files_become_one() {
    let envd = Envd::start();
    for (name, text) in [("p1", "one "), ("p2", ""), ("p3", "three")] {
        fs::write(envd.path(name), text).unwrap();
    }
    let compose = |sources: &[&str], destination: &str| {
        let sources: Vec<String> = sources.iter().map(|name| envd.path(name)).collect();
        let body = serde_json::json!({ "source_paths": sources, "destination": envd.path(destination) }).to_string();
        post(envd.address, "/files/compose", &[], body)
    };
    let missing = compose(&["p1", "nope"], "new/whole").await;
    assert_eq!(missing.status, 404);
    assert_eq!(compose(&[], "new/whole").await.status, 400);
    let answer = compose(&["p1", "p2", "p3"], "new/whole").await;
    let expected = serde_json::json!({ "path": envd.path("new/whole"), "name": "whole", "type": "file" });
    assert_eq!(answer.json(), expected);
    assert_eq!(fs::read_to_string(envd.path("new/whole")).unwrap(), "one three");
    assert!(!fs::exists(envd.path("p1")).unwrap() && !fs::exists(envd.path("p3")).unwrap());
    assert_eq!(fs::read_dir(envd.path("new")).unwrap().count(), 1);
}

/// A client that looks for an answer only when it has sent everything.
#[test]
fn a_refusal_reaches_a_client_that_is_still_sending() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let envd = Envd::start();
    runtime.block_on(post(envd.address, "/init", &[], r#"{"accessToken":"secret"}"#));
    for (target, status) in [
        ("/files?path=/x", "401"),
        ("/files?path=/x&signature_expiration=soon", "400"),
    ] {
        let mut stream = std::net::TcpStream::connect(envd.address).unwrap();
        let length = 64 << 20;
        write!(
            stream,
            "POST {target} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n"
        )
        .unwrap();
        stream.write_all(&vec![0; length]).expect("the connection stays open");
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(std::str::from_utf8(&answer).unwrap(), format!("HTTP/1.1 {status}"));
    }
}
