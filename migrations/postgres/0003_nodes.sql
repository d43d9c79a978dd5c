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
