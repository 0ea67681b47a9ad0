//! Resources: the indexed files as a directory in pages, and each file whole.
//!
//! `engine://files/` and `engine://files/<folder>/` are directories (`?cursor=` for their next page), `engine://file/<path>`
//! is a file as it is on disk. Paths are percent-encoded and never leave the root; what ignore rules exclude is not shown.

use std::io::Read;
use std::sync::Arc;

use rmcp::ErrorData;
use rmcp::model::{
    ListResourceTemplatesResult, ListResourcesResult, ReadResourceResult, Resource, ResourceContents, ResourceTemplate,
};
use serde_json::json;

use super::error::PANICKED;
use crate::app::{IndexedFile, Services};
use crate::grep::files;
use crate::root::PathRefusal;

const DIRECTORY: &str = "engine://files/";
const FILE: &str = "engine://file/";

/// Files on one page.
const PAGE: usize = 500;

/// The largest file that is returned, in bytes.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// One page of resources: the directory first, then every indexed file.
pub(crate) async fn list(services: Arc<Services>, cursor: Option<String>) -> Result<ListResourcesResult, ErrorData> {
    blocking(move || {
        let (files, next) = page(&services, "", cursor.as_deref())?;
        let mut resources = Vec::with_capacity(files.len() + 1);
        if cursor.is_none() {
            let directory = Resource::new(DIRECTORY, "files").with_title("Indexed files");
            let description = "Every indexed file with language, size and lines, in pages.";
            resources.push(directory.with_description(description).with_mime_type("application/json"));
        }
        resources.extend(files.iter().map(|file| {
            let resource = Resource::new(file_uri(&file.path), file.path.as_str()).with_size(file.bytes);
            resource.with_mime_type(mime_type(&file.path))
        }));
        let mut result = ListResourcesResult::with_all_items(resources);
        result.next_cursor = next;
        Ok(result)
    })
    .await
}

/// How other resources are addressed.
pub(crate) fn templates() -> ListResourceTemplatesResult {
    let file = ResourceTemplate::new(format!("{FILE}{{+path}}"), "file").with_title("A whole file");
    let file = file.with_description("A file by its path relative to the root, percent-encoded, as it is on disk.");
    let folder =
        ResourceTemplate::new(format!("{DIRECTORY}{{+folder}}{{?cursor}}"), "files").with_title("Indexed files");
    let folder = folder
        .with_description(
            "The indexed files below a folder (all without one), 500 a page; next_cursor leads to the next.",
        )
        .with_mime_type("application/json");
    ListResourceTemplatesResult::with_all_items(vec![file, folder])
}

/// A resource's contents.
pub(crate) async fn read(services: Arc<Services>, uri: String) -> Result<ReadResourceResult, ErrorData> {
    blocking(move || {
        let contents = if let Some(path) = uri.strip_prefix(FILE) {
            read_file(&services, &uri, path)?
        } else if let Some(folder) = uri.strip_prefix(DIRECTORY).or((uri == "engine://files").then_some("")) {
            read_directory(&services, &uri, folder)?
        } else {
            let message = format!("unknown resource `{}`: use {DIRECTORY} or {FILE}<path>", short(&uri));
            return Err(ErrorData::resource_not_found(message, Some(json!({"uri": uri}))));
        };
        Ok(ReadResourceResult::new(vec![contents]))
    })
    .await
}

fn read_file(services: &Services, uri: &str, path: &str) -> Result<ResourceContents, ErrorData> {
    let path = percent_decode(path).ok_or_else(|| bad_uri(uri, "it is not percent-encoded UTF-8"))?;
    let not_found = |why: String| ErrorData::resource_not_found(why, Some(json!({"uri": uri})));
    let file = services.root.resolve(&path).map_err(|refusal| match refusal {
        PathRefusal::Missing { .. } => not_found(refusal.to_string()),
        other => ErrorData::invalid_params(other.to_string(), Some(json!({"uri": uri}))),
    })?;
    if !file.absolute.is_file() {
        return Err(not_found(format!("`{}` is not a file; folders are listed under {DIRECTORY}", short(&path))));
    }
    if !files::is_visible(&services.root, &services.filter, &file.absolute) {
        let why = "is left out by an ignore rule, a setting (indexer.ignore, indexer.include) or as hidden";
        return Err(not_found(format!("`{}` {why}", short(&path))));
    }
    let failed = |error: std::io::Error| {
        ErrorData::internal_error(format!("`{}` cannot be read: {error}", short(&path)), Some(json!({"uri": uri})))
    };
    let mut bytes = Vec::new();
    let open = std::fs::File::open(&file.absolute).map_err(failed)?;
    open.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let size = std::fs::metadata(&file.absolute).map_or(bytes.len() as u64, |metadata| metadata.len());
        let message = format!("`{}` is {size} bytes long; the most that is returned is {FILE_BYTES_MAX}", short(&path));
        return Err(ErrorData::invalid_params(message, Some(json!({"uri": uri}))));
    }
    Ok(match String::from_utf8(bytes) {
        Ok(text) => ResourceContents::text(text, uri).with_mime_type(mime_type(&path)),
        Err(not_text) => {
            let blob = ResourceContents::blob(base64(not_text.as_bytes()), uri);
            blob.with_mime_type("application/octet-stream")
        }
    })
}

fn read_directory(services: &Services, uri: &str, rest: &str) -> Result<ResourceContents, ErrorData> {
    let (folder, query) = rest.split_once('?').unwrap_or((rest, ""));
    let folder = percent_decode(folder).ok_or_else(|| bad_uri(uri, "it is not percent-encoded UTF-8"))?;
    let folder = folder.trim_matches('/');
    if folder.split('/').any(|part| part == "..") {
        return Err(bad_uri(uri, "a folder cannot hold `..`"));
    }
    let cursor = match query.split_once('=') {
        Some(("cursor", cursor)) => Some(cursor),
        None if query.is_empty() => None,
        _ => return Err(bad_uri(uri, "the only query parameter is `cursor`")),
    };
    let (files, next) = page(services, folder, cursor)?;
    if files.is_empty() && cursor.is_none() && !folder.is_empty() {
        let message = format!("no indexed file is below `{}`", short(folder));
        return Err(ErrorData::resource_not_found(message, Some(json!({"uri": uri}))));
    }
    let status = services.index.status();
    let listed: Vec<_> = files
        .iter()
        .map(|file| {
            json!({"path": file.path, "uri": file_uri(&file.path), "language": file.language, "bytes": file.bytes,
                "lines": file.lines})
        })
        .collect();
    let listing = json!({
        "folder": folder,
        "files": listed,
        "next_cursor": next,
        "total_files": status.indexed_files,
        "complete": status.freshness.complete,
    });
    Ok(ResourceContents::text(listing.to_string(), uri).with_mime_type("application/json"))
}

/// A page of files and the cursor of the next one. A cursor is the last path of a page, so it survives commits.
fn page(
    services: &Services,
    folder: &str,
    cursor: Option<&str>,
) -> Result<(Vec<IndexedFile>, Option<String>), ErrorData> {
    let after = match cursor {
        None => None,
        Some(cursor) => {
            let path =
                cursor.strip_prefix("after:").or_else(|| cursor.strip_prefix("after%3A")).and_then(percent_decode);
            Some(path.ok_or_else(|| {
                let message = format!("cursor: `{}` is none of this server's; start without one", short(cursor));
                ErrorData::invalid_params(message, None)
            })?)
        }
    };
    let mut files = services.index.files(folder, after.as_deref(), PAGE + 1);
    let more = files.len() > PAGE;
    files.truncate(PAGE);
    let next = files.last().filter(|_| more).map(|last| format!("after:{}", percent_encode(&last.path)));
    Ok((files, next))
}

/// Runs file system and index work off the threads that serve connections.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ErrorData> + Send + 'static,
) -> Result<T, ErrorData> {
    let ended_badly = |_| ErrorData::internal_error(PANICKED, None);
    tokio::task::spawn_blocking(work).await.map_err(ended_badly)?
}

fn bad_uri(uri: &str, why: &str) -> ErrorData {
    ErrorData::invalid_params(format!("uri: `{}` cannot be used: {why}", short(uri)), Some(json!({"uri": uri})))
}

fn short(text: &str) -> &str {
    &text[..text.floor_char_boundary(200)]
}

fn file_uri(path: &str) -> String {
    format!("{FILE}{}", percent_encode(path))
}

fn percent_encode(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => encoded.push(byte as char),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'%' {
            let digits = after.get(..2).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = &after[2..];
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

fn mime_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("md" | "markdown") => "text/markdown",
        Some("json") => "application/json",
        Some("html" | "htm") => "text/html",
        Some("css") => "text/css",
        Some("js" | "mjs" | "cjs") => "text/javascript",
        Some("xml" | "svg") => "text/xml",
        Some("yml" | "yaml") => "application/yaml",
        Some("toml") => "application/toml",
        _ => "text/plain",
    }
}

/// Base64 of RFC 4648, padded.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group.iter().chain(&[0, 0]).take(3).fold(0u32, |bits, byte| bits << 8 | u32::from(*byte));
        for place in 0..4 {
            let digit = ALPHABET[(bits >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= group.len() { digit as char } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_standard() {
        // RFC 4648, section 10.
        let pairs =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("foobar", "Zm9vYmFy")];
        for (bytes, text) in pairs {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_eq!(base64(&[0xff, 0xfe, 0xfd]), "//79");
    }

    #[test]
    fn paths_survive_percent_encoding() {
        for path in ["src/a b.rs", "[slug].tsx", "a%2Fb", "ünï/čødé.md", "q?x=1#y", "back\\xffslash"] {
            let encoded = percent_encode(path);
            assert!(encoded.bytes().all(|b| b.is_ascii_graphic() && !b"?#[] ".contains(&b)), "{encoded}");
            assert_eq!(percent_decode(&encoded).as_deref(), Some(path));
        }
        for bad in ["%", "%2", "%zz", "%+1", "%ff"] {
            assert_eq!(percent_decode(bad), None, "{bad}");
        }
    }
}
