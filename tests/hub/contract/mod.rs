//! The contract that programs read, `/openapi.json` and `/asyncapi.json`: each example in them is
//! asked of a real hub, and is answered as it says but for ids and times.

use serde_json::Value;

use crate::support::Hub;

mod http;
mod sockets;
mod streams;

/// A document as the hub serves it.
fn document(hub: &Hub, path: &str) -> Value {
    let answer = hub.get(path);
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    let committed = format!("{}/docs{path}", env!("CARGO_MANIFEST_DIR"));
    assert_eq!(answer.text(), std::fs::read_to_string(committed).expect("it is committed"));
    answer.json()
}

/// What a reference of the document leads to.
fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str().and_then(|path| path.strip_prefix('#')) {
        Some(path) => document.pointer(path).unwrap_or_else(|| panic!("{path} is nowhere")),
        None => value,
    }
}

/// Where an answer is not as its example: ids and times of any value are alike.
fn differing(example: &Value, actual: &Value, at: &str) -> Option<String> {
    match (example, actual) {
        (Value::Object(example), Value::Object(actual)) => {
            let keys =
                |map: &serde_json::Map<String, Value>| map.keys().cloned().collect::<Vec<_>>();
            if keys(example) != keys(actual) {
                return Some(format!("{at}: {:?}, not {:?}", keys(actual), keys(example)));
            }
            let mut pairs = example.iter().zip(actual.values());
            pairs.find_map(|((key, one), other)| differing(one, other, &format!("{at}/{key}")))
        }
        (Value::Array(example), Value::Array(actual)) if example.len() == actual.len() => {
            let mut pairs = example.iter().zip(actual);
            pairs.find_map(|(one, other)| differing(one, other, at))
        }
        (Value::String(example), Value::String(actual))
            if is_id(example) && is_id(actual) || is_time(example) && is_time(actual) =>
        {
            None
        }
        (example, actual) if example == actual => None,
        (example, actual) => Some(format!("{at}: {actual}, not {example}")),
    }
}

fn is_id(text: &str) -> bool {
    cpi_hub::wire::Id::parse(text).is_some()
}

/// The form of a time: digits where the example has digits.
fn is_time(text: &str) -> bool {
    let form: String =
        text.chars().map(|letter| if letter.is_ascii_digit() { '0' } else { letter }).collect();
    ["0000-00-00T00:00:00.000000-00:00", "0000-00-00T00:00:00Z"].contains(&form.as_str())
}

#[test]
fn an_answer_that_is_not_as_its_example_is_seen() {
    use serde_json::json;
    let example = json!({"id": "01KB3ZQ8Z0000000000000000A", "n": 1, "all": [{"a": "x"}]});
    let with = |change: Value| {
        let mut actual = example.clone();
        let change = change.as_object().expect("an object").clone();
        actual.as_object_mut().expect("an object").extend(change);
        differing(&example, &actual, "")
    };
    assert_eq!(with(json!({"id": "01KB3ZQ8Z0000000000000000B"})), None);
    for change in [json!({"id": "x"}), json!({"n": 2}), json!({"m": 1}), json!({"all": []})] {
        assert!(with(change.clone()).is_some(), "{change}");
    }
    assert!(with(json!({"all": [{"a": "y"}]})).is_some());
}
