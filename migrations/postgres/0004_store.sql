-- Which database this is: a random name of its own, the same for every copy of it. Journals are
-- bound to it. (Random numbers of a session, its time and its number: no extension is needed.)
CREATE TABLE hub_store (
    id TEXT NOT NULL PRIMARY KEY
);

INSERT INTO hub_store (id)
SELECT md5(random()::text || random()::text || clock_timestamp()::text || pg_backend_pid()::text);
