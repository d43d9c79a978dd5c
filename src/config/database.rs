//! Where the database is. Its address may hold a password: neither an error nor what is noted shows
//! the text, and it is refused where everybody on the machine could read it.

use super::sources::{CREDENTIALS_VARIABLE, Source};
use super::{BadConfig, Reading};
use crate::edge::key_file;
use crate::store::postgres::DatabaseUrl;

const SETTING: &str = "database_url";
const SEEN: &str = "it holds a password, and everybody on the machine can read a command line: \
                    give it as DATABASE_URL, in the file of --config, or as systemd's credential \
                    database_url";

/// The address, if one is given; an empty one says that there is none.
pub(super) fn url(reading: &mut Reading<'_>) -> Result<Option<DatabaseUrl>, BadConfig> {
    let (text, source) = match reading.sources.get(SETTING) {
        Some(given) => (given.text.clone(), given.source.clone()),
        None => match credential(reading)? {
            Some(text) => (text, Source::Variable(CREDENTIALS_VARIABLE.into())),
            None => return Ok(None),
        },
    };
    if text.is_empty() {
        return Ok(None);
    }
    let bad = |problem: &dyn std::fmt::Display| {
        BadConfig(format!("{}: {problem}", source.name_of(SETTING)))
    };
    let url = DatabaseUrl::parse_with(&text, &reading.sources.tls).map_err(|error| bad(&error))?;
    if source == Source::Flag && url.has_password() {
        return Err(bad(&SEEN));
    }
    reading.note(SETTING, url.to_string(), source);
    Ok(Some(url))
}

/// The address that systemd has for the service.
fn credential(reading: &Reading<'_>) -> Result<Option<String>, BadConfig> {
    let Some(path) = reading.sources.credential(SETTING) else { return Ok(None) };
    let bad = |problem: &dyn std::fmt::Display| {
        BadConfig(format!("{CREDENTIALS_VARIABLE}: {SETTING}: {problem}"))
    };
    let bytes = key_file::read(&path).map_err(|error| bad(&error))?;
    let text = str::from_utf8(&bytes).map_err(|_| bad(&"it is no UTF-8"))?;
    Ok(Some(text.trim_end().to_owned()))
}
