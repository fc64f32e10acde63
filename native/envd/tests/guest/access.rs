//! VM7, AG3: tokens, signatures, `/init`, and the plain endpoints.

use crate::common::http::{get, post, send};
use crate::common::proto::process::ListRequest;
use crate::common::*;
use ::http::Method;
use base64::Engine;
use connectrpc::ErrorCode;
use connectrpc::client::CallOptions;
use sha2::{Digest, Sha256};
use std::process::Command;

const OCTETS: (&str, &str) = ("content-type", "application/octet-stream");

fn signature(text: &str) -> String {
    let encoded = base64::engine::general_purpose::STANDARD_NO_PAD.encode(Sha256::digest(text));
    format!("v1_{encoded}").replace('+', "%2B").replace('/', "%2F")
}

#[tokio::test]
async fn tells_its_health_version_and_metrics() {
    let envd = Envd::start();
    let answer = get(envd.address, "/health", &[]).await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("x-envd-version")),
        (204, Some(env!("CARGO_PKG_VERSION")))
    );
    let metrics = get(envd.address, "/metrics", &[]).await.json();
    let number = |name: &str| metrics[name].as_f64().unwrap_or_else(|| panic!("{name} in {metrics}"));
    assert!(number("cpu_count") >= 1.0 && (0.0..=100.0).contains(&number("cpu_used_pct")));
    assert!(number("mem_total") > number("mem_used") && number("mem_used") > 0.0 && number("mem_cache") >= 0.0);
    assert_eq!((number("mem_total") / 1048576.0).floor(), number("mem_total_mib"));
    assert!(number("disk_total") > number("disk_used") && number("disk_used") > 0.0);
    assert!(number("ts") > 1.7e9);
    assert_eq!(get(envd.address, "/no/such", &[]).await.status, 404);
}

#[tokio::test]
async fn browsers_may_call_from_anywhere() {
    let envd = Envd::start();
    post(envd.address, "/init", &[], r#"{"accessToken":"t"}"#).await;
    let headers = [
        ("origin", "https://example.com"),
        ("access-control-request-method", "POST"),
        (
            "access-control-request-headers",
            "content-type,x-access-token,connect-protocol-version",
        ),
    ];
    let answer = send(envd.address, Method::OPTIONS, "/process.Process/List", &headers, "").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!(answer.header("access-control-allow-headers"), Some("*"));
    assert!(answer.header("access-control-allow-methods").unwrap().contains("POST"));
}

#[tokio::test]
async fn a_token_closes_all_but_the_routes_that_check_themselves() {
    let envd = Envd::start();
    assert_eq!(
        post(
            envd.address,
            "/init",
            &[],
            r#"{"accessToken":"secret","envVars":{"A":"1"}}"#
        )
        .await
        .status,
        204
    );
    for target in ["/metrics", "/envs"] {
        let answer = get(envd.address, target, &[]).await;
        assert_eq!(
            (answer.status.as_u16(), answer.json()["code"].as_i64()),
            (401, Some(401)),
            "{target}"
        );
        assert_eq!(
            get(envd.address, target, &[("x-access-token", "wrong")]).await.status,
            401
        );
        assert_eq!(
            get(envd.address, target, &[("x-access-token", "secret")]).await.status,
            200
        );
    }
    assert_eq!(get(envd.address, "/health", &[]).await.status, 204);
    for codec in CODECS {
        let client = envd.processes(codec);
        let error = client.list(ListRequest::default()).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::Unauthenticated, "{codec:?}");
        let options = CallOptions::default().with_header("x-access-token", "secret");
        client.list_with_options(ListRequest::default(), options).await.unwrap();
    }
}

#[tokio::test]
async fn init_belongs_to_who_has_the_token() {
    let envd = Envd::start();
    let init = async |headers: &[(&str, &str)], body: &'static str| post(envd.address, "/init", headers, body).await;
    let first = init(&[], r#"{"accessToken":"one","envVars":{"A":"1","B":"1"}}"#).await;
    assert_eq!(
        (first.status.as_u16(), first.header("x-envd-version")),
        (204, Some(env!("CARGO_PKG_VERSION")))
    );
    assert_eq!(init(&[], r#"{"envVars":{"A":"stolen"}}"#).await.status, 401);
    assert_eq!(init(&[], r#"{"accessToken":"stolen"}"#).await.status, 401);
    assert_eq!(init(&[("x-access-token", "wrong")], "{}").await.status, 401);
    // The same again, as a host does that is not sure of the first time.
    assert_eq!(init(&[], r#"{"accessToken":"one"}"#).await.status, 204);
    assert_eq!(
        init(
            &[("x-access-token", "one")],
            r#"{"accessToken":"two","envVars":{"B":"2"}}"#
        )
        .await
        .status,
        204
    );
    let envs = get(envd.address, "/envs", &[("x-access-token", "two")]).await.json();
    assert_eq!(envs, serde_json::json!({ "A": "1", "B": "2" }));
    assert_eq!(
        get(envd.address, "/envs", &[("x-access-token", "one")]).await.status,
        401
    );
    assert_eq!(init(&[("x-access-token", "two")], "not json").await.status, 400);
    assert_eq!(
        init(&[("x-access-token", "two")], r#"{"timestamp":"yesterday"}"#)
            .await
            .status,
        400
    );
    assert_eq!(init(&[("x-access-token", "two")], "").await.status, 204);
}

#[tokio::test]
async fn init_sets_what_processes_start_with() {
    let envd = Envd::start();
    let workdir = envd.path("");
    std::fs::set_permissions(&workdir, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let body = serde_json::json!({
        "envVars": { "FROM_INIT": "yes" }, "defaultUser": "nobody", "defaultWorkdir": workdir, "lifecycleID": "ignored",
    });
    assert_eq!(post(envd.address, "/init", &[], body.to_string()).await.status, 204);
    let outcome = run(&envd.processes(Codec::Json), bash("id -un; pwd; echo $FROM_INIT")).await;
    assert_eq!(
        outcome.text(),
        format!("nobody\n{}\nyes\n", workdir.trim_end_matches('/')),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn init_names_the_machine_and_sets_its_clock() {
    let mut command = Command::new("unshare");
    let script = "mount -t tmpfs tmpfs /mnt && cp /etc/hosts /etc/passwd /etc/group /mnt && mount --bind /mnt /etc && exec \"$@\"";
    command.args([
        "-m",
        "--uts",
        "--propagation",
        "private",
        "sh",
        "-c",
        script,
        "sh",
        crate::common::BINARY,
    ]);
    if !Command::new("unshare")
        .args(["-m", "--uts", "true"])
        .status()
        .is_ok_and(|status| status.success())
    {
        eprintln!("skipped: no namespaces here");
        return;
    }
    let envd = Envd::launch(command, "127.0.0.1");
    assert_eq!(
        post(envd.address, "/init", &[], r#"{"hostname":"sb0123"}"#)
            .await
            .status,
        204
    );
    assert_eq!(
        post(envd.address, "/init", &[], r#"{"hostname":"two words"}"#)
            .await
            .status,
        400
    );
    let outcome = run(
        &envd.processes(Codec::Json),
        bash("hostname; cat /etc/hostname; grep sb0123 /etc/hosts"),
    )
    .await;
    assert_eq!(outcome.text(), "sb0123\nsb0123\n127.0.1.1\tsb0123\n");
    // The machine's own time, which changes nothing for others; a machine that forbids it says so.
    let now = String::from_utf8(
        Command::new("date")
            .args(["-u", "+%Y-%m-%dT%H:%M:%S.%NZ"])
            .output()
            .unwrap()
            .stdout,
    )
    .unwrap();
    let answer = post(
        envd.address,
        "/init",
        &[],
        format!(r#"{{"timestamp":"{}"}}"#, now.trim()),
    )
    .await;
    assert!(
        answer.status == 204 || answer.text().contains("cannot set the clock"),
        "{}",
        answer.text()
    );
}

#[tokio::test]
async fn signed_urls_open_one_file_for_one_purpose() {
    let envd = Envd::start();
    post(envd.address, "/init", &[], r#"{"accessToken":"secret"}"#).await;
    let path = envd.path("s");
    let url = |extra: &str| format!("/files?path={path}{extra}");
    let denied = async |method: Method, extra: &str, headers: &[(&str, &str)]| {
        let answer = send(envd.address, method, &url(extra), headers, "").await;
        assert_eq!(answer.status, 401);
        answer.json()["message"].as_str().unwrap().to_owned()
    };
    assert_eq!(denied(Method::GET, "", &[]).await, "missing signature query parameter");
    assert_eq!(denied(Method::GET, "&signature=v1_x", &[]).await, "invalid signature");
    let wrong = [("x-access-token", "wrong")];
    assert_eq!(
        denied(Method::GET, "", &wrong).await,
        "access token present in header but does not match"
    );

    let write = signature(&format!("{path}:write::secret"));
    let answer = post(envd.address, &url(&format!("&signature={write}")), &[OCTETS], "signed").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(
        denied(Method::GET, &format!("&signature={write}"), &[]).await,
        "invalid signature"
    );
    let read = signature(&format!("{path}:read:root:secret:4000000000"));
    let signed = format!("&username=root&signature={read}&signature_expiration=4000000000");
    assert_eq!(get(envd.address, &url(&signed), &[]).await.text(), "signed");
    let longer = format!("&username=root&signature={read}&signature_expiration=4000000001");
    assert_eq!(denied(Method::GET, &longer, &[]).await, "invalid signature");
    let old = signature(&format!("{path}:read::secret:1000"));
    let expired = format!("&signature={old}&signature_expiration=1000");
    assert_eq!(denied(Method::GET, &expired, &[]).await, "signature is already expired");
    assert_eq!(
        get(envd.address, &url(""), &[("x-access-token", "secret")])
            .await
            .text(),
        "signed"
    );
}
