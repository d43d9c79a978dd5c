//! The body of a chat post, read and checked in WIRE A3's order. Pure.
//!
//! Stricter than the existing server (WIRE B11), and it takes the seed's body too: no `space_id`,
//! ids as decimal strings (B10). Numbers are read from their text, so none is ever rounded.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Error, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::edge::http::body::parse_object;
use crate::edge::http::problem::Refusal;
use crate::edge::http::query::path_space;
use crate::limits::Limits;
use crate::wire::client_message::{check_content, kept_image};
use crate::wire::reject::Reject;
use crate::wire::{SpaceId, UserId, parse_int};

/// What a sound body says; its text can be stored and fanned out as it is.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct PostBody<'a> {
    /// The path's space; the body's, if any, is the same.
    pub space: SpaceId,
    /// The user that the body claims to speak for; `known`, where it names none.
    pub user: UserId,
    /// The name to show and keep.
    pub username: Cow<'a, str>,
    /// The text: 1 to `content_chars_max` characters.
    pub content: Cow<'a, str>,
    /// The picture, at most `image_bytes_max`; a longer one is "" (WIRE B21).
    pub image: Cow<'a, str>,
}

impl<'a> PostBody<'a> {
    /// Reads a body posted to the space that the path names.
    pub(super) fn parse(
        body: &'a [u8],
        path: &str,
        limits: &Limits,
        known: Option<UserId>,
    ) -> Result<PostBody<'a>, Refusal> {
        let given: PostFields<'a> = parse_object(body, limits)?;
        let space = given.space.optional_int(&SPACE_ID)?;
        let user = given.user.optional_int(&USER_ID)?.filter(|user| *user != 0);
        let user = user.map(UserId).or(known).ok_or_else(|| USER_ID.required())?;
        let content = given.message.required_text(&MESSAGE)?;
        let username = given.username.required_text(&USERNAME)?;
        let image = given.image.optional_text(&IMAGE)?;
        let path = path_space(path)?;
        if space.is_some_and(|space| space != path.0) {
            return Err(Reject::SpaceMismatch.into());
        }
        // What can't be kept is refused before it takes a place in an inbox.
        check_content(&content, limits.content_chars_max)?;
        if username.contains('\0') || username.chars().count() > limits.username_chars_max {
            return Err(USERNAME.invalid());
        }
        if image.contains('\0') {
            return Err(IMAGE.invalid());
        }
        let kept = kept_image(&image, limits.image_bytes_max);
        let image = if kept.is_empty() { "".into() } else { image };
        Ok(PostBody { space: path, user, username, content, image })
    }
}

/// What a bad field is answered with; both texts name the field, as the existing server's do.
struct Texts {
    field: &'static str,
    invalid: &'static str,
    required: &'static str,
}

macro_rules! texts {
    ($($constant:ident $field:literal;)*) => {$(
        const $constant: Texts = Texts {
            field: $field,
            invalid: concat!("Invalid request data: ", $field, " no es válido"),
            required: concat!("Invalid request data: ", $field, " es requerido"),
        };
    )*};
}

texts! {
    SPACE_ID "space_id";
    USER_ID "user_id";
    MESSAGE "message";
    USERNAME "username";
    IMAGE "image";
}

impl Texts {
    fn invalid(&self) -> Refusal {
        Refusal::field(self.field, self.invalid)
    }

    fn required(&self) -> Refusal {
        Refusal::field(self.field, self.required)
    }
}

/// The value of a field, as it stands in the body.
#[derive(Default)]
enum FieldValue<'a> {
    /// No such key, or null.
    #[default]
    Missing,
    Text(Cow<'a, str>),
    /// A number, as written.
    Number(&'a str),
    Other,
}

impl<'a> FieldValue<'a> {
    fn read(raw: &'a RawValue) -> Result<FieldValue<'a>, serde_json::Error> {
        // A wrapper, since `Cow` by itself never borrows.
        #[derive(Deserialize)]
        struct Borrowed<'a>(#[serde(borrow)] Cow<'a, str>);
        let text = raw.get();
        Ok(match text.as_bytes()[0] {
            b'n' => FieldValue::Missing,
            b'"' => FieldValue::Text(serde_json::from_str::<Borrowed<'a>>(text)?.0),
            b'-' | b'0'..=b'9' => FieldValue::Number(text),
            _ => FieldValue::Other,
        })
    }

    fn optional_int(self, texts: &Texts) -> Result<Option<i32>, Refusal> {
        let text = match &self {
            FieldValue::Missing => return Ok(None),
            FieldValue::Text(text) => text.as_ref(),
            FieldValue::Number(text) => text,
            FieldValue::Other => return Err(texts.invalid()),
        };
        if text.is_empty() {
            return Ok(None);
        }
        parse_int(text).map(Some).ok_or_else(|| texts.invalid())
    }

    fn optional_text(self, texts: &Texts) -> Result<Cow<'a, str>, Refusal> {
        match self {
            FieldValue::Missing => Ok("".into()),
            FieldValue::Text(text) => Ok(text),
            FieldValue::Number(_) | FieldValue::Other => Err(texts.invalid()),
        }
    }

    fn required_text(self, texts: &Texts) -> Result<Cow<'a, str>, Refusal> {
        let text = self.optional_text(texts)?;
        if text.is_empty() { Err(texts.required()) } else { Ok(text) }
    }
}

/// The fields of a body that are read; others are skipped.
#[derive(Default)]
struct PostFields<'a> {
    space: FieldValue<'a>,
    user: FieldValue<'a>,
    message: FieldValue<'a>,
    username: FieldValue<'a>,
    image: FieldValue<'a>,
}

impl<'a> PostFields<'a> {
    fn slot(&mut self, index: usize) -> &mut FieldValue<'a> {
        match index {
            0 => &mut self.space,
            1 => &mut self.user,
            2 => &mut self.message,
            3 => &mut self.username,
            _ => &mut self.image,
        }
    }
}

const KEYS: [&str; 5] = ["space_id", "user_id", "message", "username", "image"];

impl<'de> Deserialize<'de> for PostFields<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PostVisitor)
    }
}

struct PostVisitor;

impl<'de> Visitor<'de> for PostVisitor {
    type Value = PostFields<'de>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<PostFields<'de>, A::Error> {
        let mut given = PostFields::default();
        let mut seen = [false; KEYS.len()];
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            let Some(index) = KEYS.iter().position(|known| known.eq_ignore_ascii_case(&key)) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            // A key may be there twice, or in another case: parsers differ in which one they
            // take (WIRE B11).
            if seen[index] || KEYS[index] != key {
                return Err(A::Error::custom("a key is there twice, or misspelt"));
            }
            seen[index] = true;
            let raw = map.next_value::<&'de RawValue>()?;
            *given.slot(index) = FieldValue::read(raw).map_err(A::Error::custom)?;
        }
        Ok(given)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOOD: &str =
        r#"{"space_id":1,"user_id":7,"username":"Ana Paz","message":"hola","image":"https://x/y"}"#;

    fn parse<'a>(body: &'a str, path: &str) -> Result<PostBody<'a>, Refusal> {
        PostBody::parse(body.as_bytes(), path, &Limits::default(), None)
    }

    /// The refusal of [`GOOD`] with one piece replaced.
    fn message_of(from: &str, to: &str) -> &'static str {
        assert!(GOOD.contains(from), "{from}");
        parse(&GOOD.replace(from, to), "1").map(|_| ()).expect_err(to).message
    }

    #[test]
    fn the_front_ends_body_and_the_seeds_are_read() {
        let post = parse(GOOD, "1").expect("a sound body");
        assert_eq!((post.space, post.user), (SpaceId(1), UserId(7)));
        assert_eq!((&*post.content, &*post.username), ("hola", "Ana Paz"));
        assert_eq!(post.image, "https://x/y");
        let seed = r#"{"message":"hola","user_id":"007","username":"Ana","extra":[1e400,{}]}"#;
        let post = parse(seed, "+1").expect("the seed's body");
        assert_eq!((post.space, post.user, &*post.image), (SpaceId(1), UserId(7), ""));
    }

    #[test]
    fn what_is_no_json_object_has_one_text() {
        for bad in [
            "",
            " ",
            "nul",
            "null",
            "[]",
            "7",
            "\"x\"",
            "{",
            "\u{feff}{}",
            "{} {}",
            "{},",
            "{\"a\":1,}",
            "{\"a\":NaN}",
            "{\"a\":1}/* */",
            "{'message':'x'}",
            r#"{"message":"a","message":"b"}"#,
            r#"{"message":"a","Message":"b"}"#,
            r#"{"MESSAGE":"a"}"#,
            r#"{"message":"a","mess\u0061ge":"b"}"#,
            r#"{"message":"\ud83d"}"#,
            r#"{"message":"\ude00\ud83d"}"#,
            "{\"message\":\"a\nb\"}",
            r#"{"user_id":01}"#,
        ] {
            let refusal = parse(bad, "1").expect_err(bad);
            assert_eq!(refusal.message, "Invalid request data", "{bad}");
            assert_eq!((refusal.status.as_u16(), refusal.code), (400, "invalid_message_format"));
        }
        let limits = Limits::default();
        let refusal = PostBody::parse(b"{\"message\":\"\xff\"}", "1", &limits, None).map(|_| ());
        assert_eq!(refusal, Err(Refusal::bad_json()));
        let skipped = PostBody::parse(b"{\"other\":\"\xff\"}", "1", &limits, None).map(|_| ());
        assert_eq!(skipped, Err(Refusal::bad_json()));
    }

    #[test]
    fn an_escaped_key_is_the_plain_one() {
        let post = parse(r#"{"user_id":7,"username":"A","mess\u0061ge":"hola"}"#, "1");
        assert_eq!(post.expect("a sound body").content, "hola");
    }

    #[test]
    fn a_deep_body_is_refused_without_recursion() {
        let nested = |depth: usize| {
            let (open, close) = ("[".repeat(depth), "]".repeat(depth));
            GOOD.replace("{\"space", &format!("{{\"x\":{open}{close},\"space"))
        };
        assert!(parse(&nested(31), "1").is_ok());
        for depth in [32, 10_000, 1_000_000] {
            assert_eq!(parse(&nested(depth), "1").expect_err("deep"), Refusal::bad_json());
        }
        assert!(parse(&GOOD.replace("hola", &"[{\\\"".repeat(100)), "1").is_ok());
    }

    #[test]
    fn fields_are_checked_in_order_with_their_own_texts() {
        const FIELD: [(&str, &str, &str); 22] = [
            ("\"space_id\":1", "\"space_id\":true", "space_id no es válido"),
            ("\"space_id\":1", "\"space_id\":1.0", "space_id no es válido"),
            ("\"space_id\":1", "\"space_id\":\"abc\"", "space_id no es válido"),
            ("\"space_id\":1", "\"space_id\":2147483648", "space_id no es válido"),
            ("\"user_id\":7", "\"user_id\":[7]", "user_id no es válido"),
            ("\"user_id\":7", "\"user_id\":7.0", "user_id no es válido"),
            ("\"user_id\":7", "\"user_id\":7e0", "user_id no es válido"),
            ("\"user_id\":7", "\"user_id\":1e400", "user_id no es válido"),
            ("\"user_id\":7", "\"user_id\":18446744073709551616", "user_id no es válido"),
            ("\"user_id\":7", "\"user_id\":\" 7\"", "user_id no es válido"),
            ("\"user_id\":7", "\"user_id\":\"٧\"", "user_id no es válido"),
            ("\"user_id\":7,", "", "user_id es requerido"),
            ("\"user_id\":7", "\"user_id\":null", "user_id es requerido"),
            ("\"user_id\":7", "\"user_id\":0", "user_id es requerido"),
            ("\"user_id\":7", "\"user_id\":-0", "user_id es requerido"),
            ("\"user_id\":7", "\"user_id\":\"\"", "user_id es requerido"),
            ("\"hola\"", "7", "message no es válido"),
            ("\"hola\"", "\"\"", "message es requerido"),
            ("\"Ana Paz\"", "{}", "username no es válido"),
            ("\"Ana Paz\"", "null", "username es requerido"),
            ("\"Ana Paz\"", "\"A\\u0000\"", "username no es válido"),
            ("\"https://x/y\"", "7", "image no es válido"),
        ];
        for (from, to, expected) in FIELD {
            let expected = format!("Invalid request data: {expected}");
            assert_eq!(message_of(from, to), expected, "{to}");
        }
        // Two at once: the first in order answers.
        let two = parse(r#"{"space_id":{},"user_id":0}"#, "1").expect_err("two faults");
        assert_eq!((two.field, two.code), (Some("space_id"), "invalid_parameter"));
        let two = parse(r#"{"username":1,"message":1}"#, "abc").expect_err("three faults");
        assert_eq!(two.message, "Invalid request data: user_id es requerido");
    }

    #[test]
    fn the_path_must_be_an_integer_and_the_bodys_space() {
        for path in ["", "abc", "1.0", "2147483648", "1 "] {
            let refusal = parse(GOOD, path).expect_err(path);
            assert_eq!(refusal.message, "space_id debe ser un número");
        }
        let refusal = parse(GOOD, "2").expect_err("another space");
        assert_eq!((refusal.code, refusal.field), ("space_mismatch", Some("space_id")));
        assert_eq!(refusal.message, "space_id no coincide con la ruta");
        let zero = GOOD.replace("\"space_id\":1", "\"space_id\":0");
        assert_eq!(parse(&zero, "1").expect_err("0 is a space").code, "space_mismatch");
        assert!(parse(&zero, "0").is_ok());
        let text = GOOD.replace("\"space_id\":1", "\"space_id\":\"+01\"");
        assert!(parse(&text, "1").is_ok());
    }

    #[test]
    fn text_is_counted_in_characters_and_never_trimmed() {
        let post = |content: &str| {
            let body = GOOD.replace("hola", content);
            parse(&body, "1").map(|post| post.content.into_owned()).map_err(|refusal| refusal.code)
        };
        let smiles = "😀".repeat(1000);
        assert_eq!(post(&smiles), Ok(smiles.clone()));
        assert_eq!(post(&(smiles + "a")), Err("content_too_long"));
        assert_eq!(post(" \\t "), Ok(" \t ".into()));
        assert_eq!(post("a\\u0000"), Err("content_invalid"));
        let name = |count: usize| GOOD.replace("Ana Paz", &"ñ".repeat(count));
        assert!(parse(&name(256), "1").is_ok());
        assert_eq!(parse(&name(257), "1").expect_err("long").field, Some("username"));
    }

    #[test]
    fn a_big_picture_is_left_out_and_the_message_goes_on() {
        let with = |bytes: usize| GOOD.replace("https://x/y", &"i".repeat(bytes));
        assert_eq!(parse(&with(2048), "1").expect("at the bound").image.len(), 2048);
        assert_eq!(parse(&with(6_000_000), "1").expect("an avatar").image, "");
        assert_eq!(
            message_of("https://x/y", "a\\u0000"),
            "Invalid request data: image no es válido"
        );
        assert_eq!(parse(&GOOD.replace("\"https://x/y\"", "null"), "1").expect("ok").image, "");
    }

    proptest! {
        #[test]
        fn any_text_comes_through_as_it_was_sent(content in "\\PC{1,200}", name in "\\PC{1,100}") {
            let body = serde_json::json!({"message": content, "user_id": 1, "username": name});
            let body = body.to_string();
            let post = parse(&body, "1").expect("a sound body");
            prop_assert_eq!(&post.content, &content);
            prop_assert_eq!(&post.username, &name);
        }

        #[test]
        fn any_bytes_are_read_without_harm(body: Vec<u8>) {
            let _ = PostBody::parse(&body, "1", &Limits::default(), None);
        }

        #[test]
        fn an_integer_is_read_exactly_or_refused(number: i64) {
            let body = GOOD.replace(":7", &format!(":{number}"));
            let expected = i32::try_from(number).ok().filter(|number| *number != 0);
            prop_assert_eq!(parse(&body, "1").ok().map(|post| post.user.0), expected);
        }
    }
}
