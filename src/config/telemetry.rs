//! What is configured of traces: where the collector is, what it is shown, and how much it is sent.
//!
//! Its headers may hold a key: they come by a variable alone, and neither an error nor what is
//! noted shows them.

use std::path::PathBuf;

use super::sources::{OTLP_HEADERS_VARIABLE, Source};
use super::{BadConfig, Reading};
use crate::telemetry::{Endpoint, Headers, IS_BUILT, Plan};

const ENDPOINT: &str = "telemetry_endpoint";

/// Where traces are sent, if anywhere; an empty endpoint says that there is none.
pub(super) fn plan(reading: &mut Reading<'_>) -> Result<Option<Plan>, BadConfig> {
    let ca = path(reading, "telemetry_ca");
    let is_name = |text: &str| !text.is_empty() && !text.chars().any(char::is_control);
    let service = reading.value("telemetry_service_name", "a name", "cpi-hub", |text| {
        is_name(text).then(|| text.to_owned())
    })?;
    let ratio = reading.value("telemetry_sample_ratio", "a number from 0 to 1", "1", |text| {
        text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio))
    })?;
    let Some(endpoint) = endpoint(reading)? else { return Ok(None) };
    let headers = reading.sources.otlp_headers.as_deref().unwrap_or_default();
    let headers = Headers::parse(headers)
        .map_err(|bad| BadConfig(format!("{OTLP_HEADERS_VARIABLE}: {bad}")))?;
    Ok(Some(Plan { endpoint, headers, ca, ratio, service }))
}

fn endpoint(reading: &mut Reading<'_>) -> Result<Option<Endpoint>, BadConfig> {
    let given = reading.sources.get(ENDPOINT).filter(|given| !given.text.is_empty());
    let Some(given) = given else { return Ok(None) };
    if !IS_BUILT {
        let how = "this hub was built without traces: build it with the feature otlp";
        return Err(reading.bad(ENDPOINT, how));
    }
    // It is not shown: there may be a password in it, where none belongs.
    let bad = "an address such as http://127.0.0.1:4318 was expected, without user or query";
    let endpoint = Endpoint::parse(&given.text).ok_or_else(|| reading.bad(ENDPOINT, bad))?;
    reading.note(ENDPOINT, &given.text, given.source.clone());
    Ok(Some(endpoint))
}

/// Where the authorities' file is, if one is given.
fn path(reading: &mut Reading<'_>, setting: &'static str) -> Option<PathBuf> {
    let given = reading.sources.get(setting).filter(|given| !given.text.is_empty())?;
    let source: Source = given.source.clone();
    reading.note(setting, &given.text, source);
    Some(PathBuf::from(&given.text))
}
