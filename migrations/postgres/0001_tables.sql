-- The messages. An existing server's table stays as it is, foreign keys included; only an empty
-- database gets this one. `timestamp` is the wall clock of the hub's fixed offset, without a zone.
CREATE TABLE IF NOT EXISTS chat_messages (
    id        TEXT      NOT NULL PRIMARY KEY,
    content   TEXT      NOT NULL,
    user_id   INTEGER   NOT NULL,
    username  TEXT      NOT NULL,
    space_id  INTEGER   NOT NULL,
    timestamp TIMESTAMP NOT NULL DEFAULT now()
);

-- How far each journal is stored, and the highest id of it; changed in the transaction of the
-- rows. A row `adopted` belongs to no journal: it keeps the highest id of messages that were there
-- before, and of journals that are gone.
CREATE TABLE hub_positions (
    journal  TEXT   NOT NULL PRIMARY KEY,
    position BIGINT NOT NULL,
    highest  TEXT
);
