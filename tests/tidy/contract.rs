//! The contract that programs read (`docs/openapi.json`, `docs/asyncapi.json`) against the code:
//! every route, code, close, message, header, condition and limit is in it, and nothing else.

use std::collections::BTreeSet;

use cpi_hub::conditions::Condition;
use cpi_hub::limits::settings;
use cpi_hub::wire::close::Close;
use cpi_hub::{Asks, ROUTES};
use serde_json::{Value, json};

use super::codes::CLOSES;
use super::source::Source;

/// The routes that the document lacks, has for nothing, or has with other wants.
pub fn routes(api: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let mut listed = BTreeSet::new();
    for (path, operations) in api["paths"].as_object().into_iter().flatten() {
        for method in operations.as_object().into_iter().flatten().map(|(method, _)| method) {
            listed.insert((method.to_ascii_uppercase(), path.clone()));
        }
    }
    for route in ROUTES {
        let known = (route.method.to_owned(), route.path.to_owned());
        if !listed.remove(&known) {
            found.push(format!("{} {} is missing", route.method, route.path));
            continue;
        }
        let operation = &api["paths"][route.path][route.method.to_ascii_lowercase()];
        let shows = operation["security"].as_array().is_some_and(|ways| !ways.is_empty());
        if shows == (route.asks == Asks::Nothing) {
            found.push(format!("{} {}: what is shown there", route.method, route.path));
        }
    }
    found.extend(listed.into_iter().map(|(method, path)| format!("{method} {path} is no route")));
    found
}

/// The codes of refusals that the document lacks or makes up.
pub fn codes(codes: &[String], api: &Value) -> Vec<String> {
    let known = codes.iter().filter(|code| code.parse::<u16>().is_err());
    let known: BTreeSet<&str> = known.map(String::as_str).collect();
    let listed = api["components"]["schemas"]["Code"]["enum"].as_array();
    let listed: BTreeSet<&str> = listed.into_iter().flatten().filter_map(Value::as_str).collect();
    known.symmetric_difference(&listed).map(|code| format!("code {code}")).collect()
}

/// The closes that the document lacks, makes up, or tells otherwise.
pub fn closes(api: &Value) -> Vec<String> {
    let row = |close: &Close| {
        let reason = Close::REASONS[close.kind()];
        let retry = close.retry_after_ms(0).is_some();
        json!({"code": close.code(), "reason": reason, "retry": retry}).to_string()
    };
    let known: BTreeSet<String> = CLOSES.iter().map(row).collect();
    let listed = api["x-closes"].as_array().into_iter().flatten();
    let listed: BTreeSet<String> = listed
        .map(|it| json!({"code": it["code"], "reason": it["reason"], "retry": it["retry"]}))
        .map(|it| it.to_string())
        .collect();
    known.symmetric_difference(&listed).cloned().collect()
}

/// The types of messages that the source writes, or reads of clients.
pub struct Types {
    pub of_hub: BTreeSet<String>,
    pub of_clients: BTreeSet<String>,
}

/// The texts that stand right behind a mark.
fn behind<'a>(text: &'a str, mark: &str, end: char) -> impl Iterator<Item = &'a str> {
    let pieces = text.split(mark).skip(1).collect::<Vec<_>>();
    pieces.into_iter().filter_map(move |piece| piece.split(end).next())
}

impl Types {
    /// From the files that write messages, that read them, and that take what is pushed. A type is
    /// written out in its message, or given to the function that several share.
    pub fn of(written: &str, read: &str, pushed: &str) -> Types {
        let written = written.split("#[cfg(test)]").next().unwrap_or_default();
        let mut of_hub: BTreeSet<String> =
            behind(written, r#"{\"type\":\""#, '\\').map(str::to_owned).collect();
        for function in behind(written, "\nfn ", '}') {
            let (name, rest) = function.split_once('(').unwrap_or_default();
            if rest.split_once(')').is_some_and(|(given, _)| given.contains("kind: &str")) {
                let mark = format!(" {name}(");
                let calls = behind(written, &mark, ')');
                of_hub.extend(calls.filter_map(|call| call.split('"').nth(1)).map(str::to_owned));
            }
        }
        of_hub.extend(behind(pushed, " => \"", '"').map(str::to_owned));
        // What is no word is the quote of a type that is given.
        of_hub.retain(|name| name.chars().all(|it| it.is_ascii_lowercase() || it == '_'));
        of_hub.remove("");
        let of_clients = behind(read, "Node::String(\"", '"').map(str::to_owned).collect();
        Types { of_hub, of_clients }
    }

    /// The messages that the document lacks or makes up.
    pub fn against(&self, api: &Value) -> Vec<String> {
        let listed = |action: &str| -> BTreeSet<String> {
            let operations = api["operations"].as_object().into_iter().flatten();
            let messages = operations
                .filter(|(_, it)| it["action"] == action && it["channel"]["$ref"] != FEED)
                .flat_map(|(_, it)| it["messages"].as_array().into_iter().flatten());
            let names = messages.filter_map(|it| it["$ref"].as_str()?.rsplit('/').next());
            names
                .filter_map(|name| api["components"]["messages"][name]["name"].as_str())
                .map(str::to_owned)
                .collect()
        };
        let differing = |known: &BTreeSet<String>, action: &str| {
            let listed = listed(action);
            let found = known.symmetric_difference(&listed);
            found.map(|name| format!("message {name} ({action})")).collect::<Vec<_>>()
        };
        [differing(&self.of_hub, "receive"), differing(&self.of_clients, "send")].concat()
    }
}

/// What operators watch has an event of its own, which is no message of the wire's.
const FEED: &str = "#/channels/feed";

/// The headers that live code names, as they go over the wire but for their case.
pub fn headers_named(sources: &[Source]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for source in sources {
        for path in source.paths() {
            if let [.., module, name] = &path.segments[..]
                && module == "header"
                && name.chars().all(|it| it.is_ascii_uppercase() || it == '_')
            {
                found.insert(name.to_ascii_lowercase().replace('_', "-"));
            }
        }
        let live = source.text.split("#[cfg(test)]").next().unwrap_or_default();
        found.extend(behind(live, "HeaderName::from_static(\"", '"').map(str::to_owned));
    }
    found
}

/// The headers that the document lacks.
pub fn headers(named: &BTreeSet<String>, api: &Value) -> Vec<String> {
    let components = &api["components"];
    let keys = |value: &Value| -> Vec<String> {
        value.as_object().into_iter().flat_map(|it| it.keys().cloned()).collect()
    };
    let parameters = components["parameters"].as_object().into_iter().flatten();
    let parameters = parameters.filter(|(_, it)| it["in"] == "header");
    let known: BTreeSet<String> = keys(&components["headers"])
        .into_iter()
        .chain(keys(&api["x-request-headers"]))
        .chain(parameters.filter_map(|(_, it)| it["name"].as_str()).map(str::to_owned))
        .map(|name| name.to_ascii_lowercase())
        .collect();
    // `Allow` is named where it is taken out of answers.
    let missing = named.difference(&known).filter(|name| *name != "allow");
    missing.map(|name| format!("header {name}")).collect()
}

/// The document with the conditions and the limits put in, which stand last; `None`: it has no
/// place for them.
pub fn with_tables(text: &str) -> Option<String> {
    let (before, _) = text.split_once("\n \"x-conditions\": {")?;
    let conditions: Vec<String> = Condition::ALL
        .iter()
        .map(|it| {
            let [effect, meaning, remedy] = [it.effect().name(), it.meaning(), it.remedy()];
            let about = json!({"do": remedy, "effect": effect, "meaning": meaning});
            format!("  {}: {about}", json!(it.name()))
        })
        .collect();
    let limits: Vec<String> = settings()
        .into_iter()
        .map(|setting| {
            let default = json!(setting.show(setting.default));
            let help = json!(setting.help);
            format!("  {}: {{\"default\": {default}, \"help\": {help}}}", json!(setting.name))
        })
        .collect();
    let (conditions, limits) = (conditions.join(",\n"), limits.join(",\n"));
    Some(format!(
        "{before}\n \"x-conditions\": {{\n{conditions}\n }},\n \"x-limits\": {{\n{limits}\n }}\n}}\n"
    ))
}
