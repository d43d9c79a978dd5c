//! What the tables of users and spaces say, where the database has them: who exists, and what a
//! space is called.

use tokio_postgres::Error;
use tokio_postgres::types::Type;

use super::super::rows::Readable;
use super::History;
use crate::limits::SPACE_NAME_CHARS_MAX;
use crate::store::query::Existing;
use crate::wire::{SpaceId, UserId};

impl History {
    /// Whether a user and a space exist, where messages need them to.
    pub(in super::super) async fn existing(
        &self,
        user: UserId,
        space: SpaceId,
    ) -> Result<Existing, Error> {
        let asking = self.existing_now(user, space);
        self.connection.in_transaction(&self.begin, asking).await
    }

    async fn existing_now(&self, user: UserId, space: SpaceId) -> Result<Existing, Error> {
        let (users, spaces) = self.keys;
        let exists = async |needed: bool, table: &str, id: i32| {
            if !needed {
                return Ok(true);
            }
            let sql = format!("SELECT EXISTS (SELECT 1 FROM {table} WHERE id = $1)");
            let rows = self.connection.client.query_typed(&sql, &[(&id, Type::INT4)]).await?;
            rows.first().map_or(Ok(true), |row| row.try_get::<_, bool>(0))
        };
        Ok(Existing {
            user: exists(users, "users", user.0).await?,
            space: exists(spaces, "spaces", space.0).await?,
        })
    }

    /// What a space is called, where there is a table that says so.
    pub(in super::super) async fn name(&self, space: SpaceId) -> Result<Option<String>, Error> {
        if !self.names {
            return Ok(None);
        }
        let name = format!("left(coalesce(name::text, ''), {SPACE_NAME_CHARS_MAX})");
        let sql = format!("SELECT {} FROM spaces WHERE id = $1", self.texts.of(&name));
        let asking = async {
            let rows = self.connection.client.query_typed(&sql, &[(&space.0, Type::INT4)]).await?;
            rows.first().map(|row| row.try_get(0).map(|Readable(name)| name)).transpose()
        };
        self.connection.in_transaction(&self.begin, asking).await
    }
}
