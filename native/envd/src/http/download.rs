//! `GET /files`: a file's bytes, streamed; ranges and conditions as any static file server, gzip on request.

use super::FileQuery;
use super::encoding::{self, Coding};
use crate::auth;
use crate::fault::Fault;
use crate::guest::Guest;
use async_compression::tokio::bufread::GzipEncoder;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, header};
use std::path::Path;
use std::sync::Arc;
use tokio::fs::File;
use tokio::io::BufReader;
use tokio_util::io::ReaderStream;
use tower::ServiceExt;
use tower_http::services::ServeFile;

/// Bytes read at once; each read is a hop to a helper thread.
const CHUNK: usize = 128 << 10;

pub async fn download(State(guest): State<Arc<Guest>>, request: Request) -> Result<Response, Fault> {
    let query = FileQuery::of(request.uri())?;
    auth::check_files(&guest, request.headers(), &query.signed("read"))?;
    let user = guest.user(query.username.as_deref())?;
    let path = guest.resolve(query.path.as_deref().unwrap_or_default(), &user)?;
    let about = std::fs::metadata(&path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Fault::not_found(format!("path '{}' does not exist", path.display())),
        _ => Fault::io(format!("cannot read '{}'", path.display()), &error),
    })?;
    if about.is_dir() {
        return Err(Fault::invalid(format!("path '{}' is a directory", path.display())));
    }
    if !about.is_file() {
        return Err(Fault::invalid(format!(
            "path '{}' is not a regular file",
            path.display()
        )));
    }
    let accept = request
        .headers()
        .get(header::ACCEPT_ENCODING)
        .and_then(|value| value.to_str().ok());
    let coding = encoding::negotiate(accept)?;
    let mut response = if coding == Coding::Gzip && about.len() > 0 && !request.headers().contains_key(header::RANGE) {
        let file = BufReader::with_capacity(CHUNK, open(&path).await?);
        let body = Body::from_stream(ReaderStream::with_capacity(GzipEncoder::new(file), CHUNK));
        (
            [
                (header::CONTENT_ENCODING, "gzip"),
                (header::CONTENT_TYPE, "application/octet-stream"),
            ],
            body,
        )
            .into_response()
    } else if about.len() == 0 && is_generated(&path) {
        // Files of /proc and /sys say 0 bytes and have more.
        let body = Body::from_stream(ReaderStream::with_capacity(open(&path).await?, CHUNK));
        ([(header::CONTENT_TYPE, "application/octet-stream")], body).into_response()
    } else {
        let file = ServeFile::new(&path).with_buf_chunk_size(CHUNK);
        let response = file.oneshot(request).await.map_err(|never| match never {})?;
        response.map(Body::new)
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_DISPOSITION, disposition(&path));
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    headers.insert(
        HeaderName::from_static("x-content-type-options"),
        HeaderValue::from_static("nosniff"),
    );
    Ok(response)
}

async fn open(path: &Path) -> Result<File, Fault> {
    File::open(path)
        .await
        .map_err(|error| Fault::io(format!("cannot open '{}'", path.display()), &error))
}

/// True for file systems whose files are made when they are read.
fn is_generated(path: &Path) -> bool {
    const PROC: i64 = 0x9fa0;
    const SYSFS: i64 = 0x6265_6572;
    const CGROUP2: i64 = 0x6367_7270;
    rustix::fs::statfs(path).is_ok_and(|about| matches!(about.f_type, PROC | SYSFS | CGROUP2))
}

/// `inline` with the file's name, in the UTF-8 form where it is needed.
fn disposition(path: &Path) -> HeaderValue {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let plain = name
        .bytes()
        .all(|byte| (byte.is_ascii_graphic() || byte == b' ') && byte != b'"' && byte != b'\\');
    let value = if plain {
        format!("inline; filename=\"{name}\"")
    } else {
        let encoded: String = name
            .bytes()
            .map(|byte| match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => (byte as char).to_string(),
                _ => format!("%{byte:02X}"),
            })
            .collect();
        format!("inline; filename*=UTF-8''{encoded}")
    };
    HeaderValue::from_str(&value).unwrap_or(HeaderValue::from_static("inline"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_in_the_header() {
        assert_eq!(disposition(Path::new("/a/b c.txt")), "inline; filename=\"b c.txt\"");
        assert_eq!(
            disposition(Path::new("/a/ž\".txt")),
            "inline; filename*=UTF-8''%C5%BE%22.txt"
        );
    }
}
