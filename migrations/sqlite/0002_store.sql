-- Which database this is: a random name of its own, the same for every copy of it. Journals are
-- bound to it. `highest` is the highest id of journals that are gone.
CREATE TABLE hub_store (
    id      TEXT NOT NULL PRIMARY KEY,
    highest TEXT NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO hub_store (id, highest) VALUES (lower(hex(randomblob(16))), '');
