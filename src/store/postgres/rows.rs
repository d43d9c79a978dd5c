//! How a stored row is asked for and read, whatever others have put into it: history must open
//! (docs/WIRE.md B15). Owns no state.

use tokio_postgres::types::{FromSql, Type};
use tokio_postgres::{Error, Row};

use super::copy::WallMicros;
use crate::store::query::StoredMessage;
use crate::wire::time::Micros;
use crate::wire::{Id, SpaceId, UserId};

/// When a row was said. Times that no text shows, infinite ones among them, become the nearest that
/// can be shown.
const TIME: &str = "(extract(epoch FROM CASE \
    WHEN m.timestamp < timestamp '0001-01-01' THEN timestamp '0001-01-01' \
    WHEN m.timestamp > timestamp '9999-12-31 23:59:59.999999' \
    THEN timestamp '9999-12-31 23:59:59.999999' ELSE m.timestamp END) * 1000000)::int8";

/// How texts are asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Texts {
    /// The database is in `SQL_ASCII`: it holds any bytes, and refuses to hand out as texts what is
    /// none in UTF-8.
    pub(super) any_bytes: bool,
}

impl Texts {
    pub(super) fn of(self, sql: &str) -> String {
        match self.any_bytes {
            true => format!("convert_to({sql}, 'SQL_ASCII')"),
            false => sql.to_owned(),
        }
    }

    /// A row's columns. Whatever others have put there, history must open (docs/WIRE.md B15).
    pub(super) fn columns(self) -> String {
        let [id, content, username] =
            ["m.id::text", "coalesce(m.content::text, '')", "coalesce(m.username::text, '')"]
                .map(|sql| self.of(sql));
        format!(
            "{id}, {content}, coalesce(m.user_id::int4, 0), {username}, m.space_id::int4, {TIME}"
        )
    }
}

pub(super) fn message(row: &Row, wall: WallMicros) -> Result<StoredMessage, Error> {
    let Readable(id) = row.try_get(0)?;
    let at = match row.try_get::<_, Option<i64>>(5)? {
        Some(at) => wall.instant(at),
        None => Id::parse(&id).map_or(Micros(0), |id| Micros(id.unix_ms() * 1_000)),
    };
    let (Readable(content), Readable(username)) = (row.try_get(1)?, row.try_get(3)?);
    Ok(StoredMessage {
        id,
        content,
        user: UserId(row.try_get(2)?),
        username,
        space: SpaceId(row.try_get(4)?),
        at,
        image: "".into(),
    })
}

/// A text, or bytes as far as they are one.
pub(super) struct Readable(pub(super) String);

impl<'a> FromSql<'a> for Readable {
    fn from_sql(
        _: &Type,
        raw: &'a [u8],
    ) -> Result<Readable, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Readable(String::from_utf8_lossy(raw).into_owned()))
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::BYTEA || <&str as FromSql>::accepts(kind)
    }
}
