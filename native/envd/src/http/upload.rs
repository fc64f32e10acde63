//! `POST /files`: files of any size, streamed to disk.

use super::FileQuery;
use super::encoding::{self, Coding};
use super::linger::Lingering;
use crate::auth;
use crate::fault::Fault;
use crate::filesystem::metadata::Metadata;
use crate::filesystem::write::{self, Target};
use crate::guest::Guest;
use async_compression::tokio::bufread::GzipDecoder;
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, TryStreamExt};
use http::{HeaderMap, Uri, header};
use multer::Multipart;
use serde::Serialize;
use std::collections::BTreeMap;
use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::Arc;
use tokio_util::io::{ReaderStream, StreamReader};

/// The form field that carries files; others are ignored.
const FIELD: &str = "file";

/// What clients are told of a file that was written.
#[derive(Serialize)]
pub struct Written {
    path: String,
    name: String,
    r#type: &'static str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<String, String>,
}

impl Written {
    pub fn new(path: &Path, metadata: &Metadata) -> Self {
        Self {
            name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            path: path.to_string_lossy().into_owned(),
            r#type: "file",
            metadata: metadata.0.clone(),
        }
    }
}

pub async fn upload(
    State(guest): State<Arc<Guest>>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Vec<Written>>, Fault> {
    // First of all, so that a refusal reaches a client that is still sending.
    let body = Lingering::new(body);
    let query = FileQuery::of(&uri)?;
    auth::check_files(&guest, &headers, &query.signed("write"))?;
    let user = guest.user(query.username.as_deref())?;
    let metadata = Metadata::from_headers(&headers)?;
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let coding = encoding::of_upload(text(header::CONTENT_ENCODING.as_str()))?;
    let length = match coding {
        Coding::Identity => text(header::CONTENT_LENGTH.as_str()).and_then(|length| length.parse().ok()),
        Coding::Gzip => None,
    };
    let bytes = decode(body, coding);
    let target = |path: &str| {
        Ok(Target {
            path: guest.resolve(path, &user)?,
            user: &user,
            metadata: &metadata,
        })
    };

    let boundary = text(header::CONTENT_TYPE.as_str()).and_then(|kind| multer::parse_boundary(kind).ok());
    let Some(boundary) = boundary else {
        let path = query.path.as_deref().filter(|path| !path.is_empty());
        let path = path.ok_or_else(|| Fault::invalid("missing query parameter 'path'"))?;
        let target = target(path)?;
        write::write(&target, bytes, length).await?;
        return Ok(Json(vec![Written::new(&target.path, &metadata)]));
    };

    let mut form = Multipart::new(bytes, boundary);
    let mut files = Vec::new();
    let mut seen = HashSet::new();
    while let Some(field) = form.next_field().await.map_err(|error| broken(&error))? {
        if field.name() != Some(FIELD) {
            continue;
        }
        let path = match query.path.as_deref().filter(|path| !path.is_empty()) {
            Some(path) => path.to_owned(),
            None => field
                .file_name()
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .ok_or_else(|| {
                    Fault::invalid("a file needs a 'path' query parameter or a file name in its form field")
                })?,
        };
        let target = target(&path)?;
        if !seen.insert(target.path.clone()) {
            return Err(Fault::invalid(format!(
                "more than one file for path '{}'",
                target.path.display()
            )));
        }
        write::write(&target, field.map_err(io::Error::other), None).await?;
        files.push(Written::new(&target.path, &metadata));
    }
    if files.is_empty() {
        return Err(Fault::invalid(format!("the form has no '{FIELD}' field")));
    }
    Ok(Json(files))
}

/// The body's bytes with their coding undone.
fn decode(body: Lingering, coding: Coding) -> BoxStream<'static, io::Result<Bytes>> {
    let bytes = body.map_err(io::Error::other);
    match coding {
        Coding::Identity => bytes.boxed(),
        Coding::Gzip => {
            let mut decoder = GzipDecoder::new(StreamReader::new(bytes));
            decoder.multiple_members(true);
            ungzipped(decoder).boxed()
        }
    }
}

fn ungzipped(decoder: impl tokio::io::AsyncRead) -> impl Stream<Item = io::Result<Bytes>> {
    const CHUNK: usize = 64 << 10;
    ReaderStream::with_capacity(decoder, CHUNK)
}

fn broken(error: &multer::Error) -> Fault {
    Fault::invalid(format!("broken multipart body: {error}"))
}
