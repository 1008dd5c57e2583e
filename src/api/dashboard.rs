//! The dashboard: a page and what belongs to it, as they were built into the binary. It asks the API for everything that it
//! shows, so its files tell nobody anything, and are open.

use std::sync::LazyLock;

use axum::body::Body;
use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::describe::{Describe, Operation};
use super::problem::Problem;
use super::query::Params;

/// Where the page's own files are.
const DIRECTORY: &str = "/dashboard/";

/// Nothing from elsewhere, nothing inline, nothing that makes code or markup of text, no frame around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
                      trusted-types 'none'";

macro_rules! files {
    ($($name:literal $kind:literal)*) => {
        [$(($name, $kind, include_str!(concat!("dashboard/", $name)))),*]
    };
}

/// Name, media type and text of every file; the page itself comes first.
const FILES: [(&str, &str, &str); 18] = files! {
    "index.html" "text/html; charset=utf-8"
    "style.css" "text/css; charset=utf-8"
    "icon.svg" "image/svg+xml"
    "api.js" "text/javascript; charset=utf-8"
    "app.js" "text/javascript; charset=utf-8"
    "dead_letters.js" "text/javascript; charset=utf-8"
    "deliveries.js" "text/javascript; charset=utf-8"
    "destinations.js" "text/javascript; charset=utf-8"
    "dialogs.js" "text/javascript; charset=utf-8"
    "dom.js" "text/javascript; charset=utf-8"
    "events.js" "text/javascript; charset=utf-8"
    "job.js" "text/javascript; charset=utf-8"
    "jobs.js" "text/javascript; charset=utf-8"
    "live.js" "text/javascript; charset=utf-8"
    "log.js" "text/javascript; charset=utf-8"
    "overview.js" "text/javascript; charset=utf-8"
    "plot.js" "text/javascript; charset=utf-8"
    "words.js" "text/javascript; charset=utf-8"
};

/// One of the files, with its tag.
#[derive(Clone)]
pub(super) struct File {
    name: &'static str,
    kind: &'static str,
    text: &'static str,
    tag: String,
}

static WITH_TAGS: LazyLock<Vec<File>> = LazyLock::new(|| {
    let tagged = |(name, kind, text): (&'static str, &'static str, &'static str)| {
        let hash: [u8; 32] = Sha256::digest(text).into();
        let short = hash.iter().take(8).fold(0_u64, |short, byte| short << 8 | u64::from(*byte));
        File { name, kind, text, tag: format!("\"{short:016x}\"") }
    };
    FILES.map(tagged).into()
});

/// Whether a path is the page's, or one where its files are.
pub(super) fn has(path: &str) -> bool {
    path == "/" || path.starts_with(DIRECTORY)
}

/// The file that the path names.
pub(super) struct Named(File);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let params = RawPathParams::from_request_parts(parts, state).await.map_err(|_| Problem::no_such_path())?;
        let name = params.iter().next().map_or("", |(_, name)| name);
        let file = WITH_TAGS.iter().find(|file| file.name == name);
        file.cloned().map(Self).ok_or_else(Problem::no_such_path)
    }
}

impl Describe for Named {
    fn describe(operation: &mut Operation<'_>) {
        let names = FILES.map(|(name, ..)| name);
        operation.parameter("path", "file", &json!({"type": "string", "enum": names}), "The file's name");
        operation.problems(&[404]);
    }
}

/// What the client has already.
pub(super) struct IfNoneMatch(HeaderMap);

impl<S: Sync> FromRequestParts<S> for IfNoneMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Ok(Self(parts.headers.clone()))
    }
}

impl Describe for IfNoneMatch {
    fn describe(operation: &mut Operation<'_>) {
        let schema = json!({"type": "string"});
        operation.parameter("header", "If-None-Match", &schema, "The ETag of what the client has already");
    }
}

impl IfNoneMatch {
    /// Whether that is `tag`, by weak comparison (RFC 9110, section 13.1.2).
    fn has(&self, tag: &str) -> bool {
        let given = self.0.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        given
            .flat_map(|value| value.split(','))
            .map(str::trim)
            .any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
    }
}

/// A file, or that the client has it.
pub(super) struct Answer {
    file: File,
    is_known: bool,
}

impl Describe for Answer {
    fn describe(operation: &mut Operation<'_>) {
        operation.text(200, "The page, or a file of its", "*/*");
        operation.nothing(304, "The client has it");
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let Self { file: File { kind, text, tag, .. }, is_known } = self;
        let mut response = Response::new(if is_known { Body::empty() } else { Body::from(text) });
        if is_known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        }
        let headers = response.headers_mut();
        let mut put = |name: HeaderName, value: &'static str| headers.insert(name, HeaderValue::from_static(value));
        put(header::CONTENT_TYPE, kind);
        // Asked for anew each time, and answered with 304: all files are always of one version.
        put(header::CACHE_CONTROL, "no-cache");
        put(header::CONTENT_SECURITY_POLICY, POLICY);
        put(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
        put(header::REFERRER_POLICY, "no-referrer");
        if let Ok(tag) = HeaderValue::try_from(tag) {
            headers.insert(header::ETAG, tag);
        }
        response
    }
}

/// `GET /`
pub(super) async fn page(_: Params<()>, known: IfNoneMatch) -> Result<Answer, Problem> {
    let page = WITH_TAGS.first().cloned().ok_or_else(Problem::no_such_path)?;
    file(Named(page), Params(()), known).await
}

/// `GET /dashboard/{file}`
pub(super) async fn file(Named(file): Named, _: Params<()>, known: IfNoneMatch) -> Result<Answer, Problem> {
    let is_known = known.has(&file.tag);
    Ok(Answer { file, is_known })
}
