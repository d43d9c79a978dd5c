-- What `cpi-hub migrate --dry-run` printed for an empty database before the table of messages had one
-- index a row: it is not changed any more.

-- table of migrations
CREATE TABLE hub_migrations (number INTEGER NOT NULL PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL);
-- migration 1 (tables)
BEGIN;
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
;
INSERT INTO hub_migrations VALUES (1, 'tables', '99a9862a');
COMMIT;
-- migration 2 (nodes)
BEGIN;
-- Who serves this database: a hub's row is renewed while it runs, by the server's clock. A row that
-- is `fenced` was taken over from: its hub ends when it reads that.
CREATE TABLE hub_nodes (
    boot      TEXT        NOT NULL PRIMARY KEY,
    directory TEXT        NOT NULL,
    name      TEXT        NOT NULL,
    state     TEXT        NOT NULL,
    claimed   TIMESTAMPTZ NOT NULL,
    renewed   TIMESTAMPTZ NOT NULL
);
-- Which run of a hub writes a journal's rows. A take-over makes the positions of the run before
-- negative (-1 - position), so that its next batch moves no position and stores nothing.
ALTER TABLE hub_positions ADD COLUMN boot TEXT;
;
INSERT INTO hub_migrations VALUES (2, 'nodes', '9f36115f');
COMMIT;
-- migration 3 (store)
BEGIN;
-- Which database this is: a random name of its own, the same for every copy of it. Journals are
-- bound to it. (Random numbers of a session, its time and its number: no extension is needed.)
CREATE TABLE hub_store (
    id TEXT NOT NULL PRIMARY KEY
);
INSERT INTO hub_store (id)
SELECT md5(random()::text || random()::text || clock_timestamp()::text || pg_backend_pid()::text);
;
INSERT INTO hub_migrations VALUES (3, 'store', '84b77822');
COMMIT;
-- index chat_messages_space_id_id
-- For history by position, and by page. Each statement stands alone, outside a transaction:
-- others go on writing while an index is built. One that was left invalid is built again.
CREATE INDEX CONCURRENTLY IF NOT EXISTS chat_messages_space_id_id
    ON chat_messages (space_id, id COLLATE "C");
-- index chat_messages_space_id_timestamp_id
CREATE INDEX CONCURRENTLY IF NOT EXISTS chat_messages_space_id_timestamp_id
    ON chat_messages (space_id, timestamp, id COLLATE "C");
