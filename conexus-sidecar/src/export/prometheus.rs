//! Prometheus: which bytes answer a scrape?
//!
//! Two formats of the same samples, chosen by `Accept`: OpenMetrics, which has exemplars, and the older text format.

pub mod openmetrics;
pub mod text;

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::catalog::samples::Sampled;

/// Upper bounds of the buckets in seconds as both formats write them. The same text in both, so that a series keeps
/// its labels whichever format a server asks for.
pub const BOUNDS: [&str; 15] = [
    "0.0005", "0.001", "0.0025", "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1.0", "2.5", "5.0", "10.0",
    "+Inf",
];

/// A format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `application/openmetrics-text`, version 1.0.0.
    OpenMetrics,
    /// `text/plain`, version 0.0.4.
    Text,
}

impl Format {
    /// The value of `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Format::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// The format that an `Accept` header prefers. Without a preference it is the text format, for people and for
    /// clients that never heard of OpenMetrics.
    pub fn negotiate(accept: &str) -> Self {
        let quality = |media: &str| {
            accept
                .split(',')
                .map(|range| parse_range(range.trim()))
                .filter(|range| range.media.eq_ignore_ascii_case(media) && range.version_fits)
                .map(|range| range.quality)
                .fold(None, |best: Option<f64>, q| Some(best.map_or(q, |best| best.max(q))))
        };
        let openmetrics = quality("application/openmetrics-text").unwrap_or(0.0);
        let text = [quality("text/plain"), quality("text/*"), quality("*/*")].into_iter().flatten().next();
        if openmetrics > 0.0 && text.is_none_or(|text| openmetrics >= text) { Self::OpenMetrics } else { Self::Text }
    }

    /// Writes samples in this format.
    pub fn encode(self, samples: Vec<Sampled>) -> String {
        match self {
            Format::OpenMetrics => openmetrics::encode(samples),
            Format::Text => text::encode(&samples),
        }
    }
}

struct MediaRange<'a> {
    media: &'a str,
    quality: f64,
    version_fits: bool,
}

fn parse_range(range: &str) -> MediaRange<'_> {
    let mut parts = range.split(';').map(str::trim);
    let media = parts.next().unwrap_or_default();
    let mut parsed = MediaRange { media, quality: 1.0, version_fits: true };
    for (name, value) in parts.filter_map(|part| part.split_once('=')) {
        match name.trim().to_ascii_lowercase().as_str() {
            "q" => parsed.quality = value.trim().parse().unwrap_or(0.0),
            "version" if media.eq_ignore_ascii_case("application/openmetrics-text") => {
                parsed.version_fits = matches!(value.trim().trim_matches('"'), "1.0.0" | "0.0.1");
            }
            _ => {}
        }
    }
    parsed
}

/// Whether an `Accept-Encoding` header allows gzip.
pub fn accepts_gzip(accept_encoding: &str) -> bool {
    let mut wildcard = false;
    for coding in accept_encoding.split(',') {
        let range = parse_range(coding.trim());
        match range.media.to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => return range.quality > 0.0,
            "*" => wildcard = range.quality > 0.0,
            _ => {}
        }
    }
    wildcard
}

/// Compresses an answer.
pub fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 10), Compression::fast());
    encoder.write_all(body).and_then(|()| encoder.finish()).expect("writing to memory cannot fail")
}

#[cfg(test)]
mod tests;
