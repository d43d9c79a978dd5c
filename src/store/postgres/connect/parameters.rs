//! Takes single parameters out of a database's address, where the crate that reads the rest does
//! not know them. Pure; both forms of libpq, URLs and lists of `key=value`.

use crate::wire::percent;

/// An address without some of its parameters, and their values as they were given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Taken {
    /// What is left.
    pub(super) rest: String,
    /// One for each name asked for; of several values the last, as libpq has it.
    pub(super) values: Vec<Option<String>>,
}

/// Takes the parameters of these names out. What can't be read is left where it is.
pub(super) fn take(text: &str, names: &[&str]) -> Taken {
    let url = ["postgres://", "postgresql://"].iter().find_map(|scheme| text.strip_prefix(scheme));
    match url {
        Some(url) => from_url(text, text.len() - url.len(), names),
        None => from_list(text, names),
    }
}

fn from_url(text: &str, scheme_bytes: usize, names: &[&str]) -> Taken {
    let mut taken = Taken { rest: text.into(), values: vec![None; names.len()] };
    // Passwords may hold a question mark; the last `@` of a query is not theirs.
    let host = text[scheme_bytes..].find('@').map_or(scheme_bytes, |at| scheme_bytes + at);
    let Some(query) = text[host..].find('?').map(|at| host + at) else { return taken };
    let mut kept = Vec::new();
    for pair in text[query + 1..].split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        match names.iter().position(|known| *known == name).zip(percent::decode(value, false)) {
            Some((place, value)) => taken.values[place] = Some(value.into_owned()),
            None => kept.push(pair),
        }
    }
    taken.rest.truncate(query);
    if !kept.is_empty() {
        taken.rest = format!("{}?{}", taken.rest, kept.join("&"));
    }
    taken
}

fn from_list(text: &str, names: &[&str]) -> Taken {
    let mut taken = Taken { rest: String::new(), values: vec![None; names.len()] };
    let mut left = text;
    while let Some((name, value, after)) = pair(left) {
        match names.iter().position(|known| *known == name) {
            Some(place) => taken.values[place] = Some(value),
            None => taken.rest.push_str(&left[..left.len() - after.len()]),
        }
        left = after;
    }
    taken.rest.push_str(left);
    taken
}

/// The first `name = value` of a list, and what follows it.
pub(super) fn pair(text: &str) -> Option<(&str, String, &str)> {
    let (name, rest) = text.split_once('=')?;
    let name = name.trim();
    if name.is_empty() || name.contains(char::is_whitespace) {
        return None;
    }
    let rest = rest.trim_start();
    let quoted = rest.strip_prefix('\'');
    let (mut value, mut letters) = (String::new(), quoted.unwrap_or(rest).char_indices());
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => value.extend(letters.next().map(|(_, letter)| letter)),
            '\'' if quoted.is_some() => return Some((name, value, &quoted?[at + 1..])),
            _ if letter.is_whitespace() && quoted.is_none() => {
                return Some((name, value, &rest[at..]));
            }
            _ => value.push(letter),
        }
    }
    quoted.is_none().then_some((name, value, ""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, rest: &str, mode: Option<&str>, cert: Option<&str>) {
        let taken = take(text, &["sslmode", "sslrootcert"]);
        let values = vec![mode.map(str::to_owned), cert.map(str::to_owned)];
        assert_eq!(taken, Taken { rest: rest.into(), values }, "{text}");
    }

    #[test]
    fn parameters_are_taken_out_of_both_forms() {
        check("postgresql://a@db/hub", "postgresql://a@db/hub", None, None);
        check("postgres://a@db/hub?sslmode=allow", "postgres://a@db/hub", Some("allow"), None);
        check(
            "postgresql://a:x?y@db/hub?a=b&sslmode=x&sslrootcert=%2Fa%20b.pem&c=d",
            "postgresql://a:x?y@db/hub?a=b&c=d",
            Some("x"),
            Some("/a b.pem"),
        );
        check("postgres://db?sslmode=a&sslmode=b", "postgres://db", Some("b"), None);
        check("postgres://db?sslmode=%zz", "postgres://db?sslmode=%zz", None, None);
        check(
            "host=db sslmode = 'verify-ca' user=ana sslrootcert='/a b\\'s.pem'",
            "host=db user=ana",
            Some("verify-ca"),
            Some("/a b's.pem"),
        );
        check("sslmode=require host=db", " host=db", Some("require"), None);
        check("host=db password='sslmode=x'", "host=db password='sslmode=x'", None, None);
        check("host=db sslmode='open", "host=db sslmode='open", None, None);
        check("", "", None, None);
    }

    proptest! {
        #[test]
        fn what_is_not_asked_for_stays_as_it_is(text in "\\PC{0,60}", url: bool) {
            let text = if url { format!("postgresql://{text}") } else { text };
            prop_assert_eq!(take(&text, &[]).rest, text);
        }

        #[test]
        fn any_value_survives_its_quotes(value in "[ -~]{0,20}") {
            let quoted = value.replace('\\', "\\\\").replace('\'', "\\'");
            let taken = take(&format!("host=db sslmode='{quoted}' user=x"), &["sslmode"]);
            prop_assert_eq!(&taken.rest, "host=db user=x");
            prop_assert_eq!(taken.values, vec![Some(value.clone())]);
            let hex: String = value.bytes().map(|byte| format!("%{byte:02x}")).collect();
            let taken = take(&format!("postgres://db?sslmode={hex}"), &["sslmode"]);
            prop_assert_eq!(taken.values, vec![Some(value)]);
        }
    }
}
