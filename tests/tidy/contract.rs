//! The contract that programs read (`docs/openapi.json`, `docs/asyncapi.json`) against the code:
//! every route, code, close and limit is in it, and nothing else.

use std::collections::BTreeSet;

use cpi_hub::limits::settings;
use cpi_hub::wire::close::Close;
use cpi_hub::{Asks, ROUTES};
use serde_json::{Value, json};

use super::codes::CLOSES;

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

/// The document with the limits put in, which stand last; `None`: it has no place for them.
pub fn with_limits(text: &str) -> Option<String> {
    let (before, _) = text.split_once("\n \"x-limits\": {")?;
    let lines: Vec<String> = settings()
        .into_iter()
        .map(|setting| {
            let default = json!(setting.show(setting.default));
            let help = json!(setting.help);
            format!("  {}: {{\"default\": {default}, \"help\": {help}}}", json!(setting.name))
        })
        .collect();
    Some(format!("{before}\n \"x-limits\": {{\n{}\n }}\n}}\n", lines.join(",\n")))
}
