-- The index of words, which is made only where the setting `search` asks for it. It holds words and
-- where they stand, no texts, under the rows' own numbers. `space` is a word too (`s5`, `sn5`).
CREATE VIRTUAL TABLE IF NOT EXISTS hub_search USING fts5(
    space, content, content = '', contentless_delete = 1,
    tokenize = "unicode61 remove_diacritics 2"
);

-- How far the index is. Rows whose number is above `fill_above`, and `fill_to` at most, are not in
-- it yet; all others are, but those of `hub_search_changed`. The highest are filled in first.
CREATE TABLE IF NOT EXISTS hub_search_state (
    one        INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    version    INTEGER NOT NULL,
    fill_above INTEGER NOT NULL,
    fill_to    INTEGER NOT NULL
) STRICT;

-- Rows that were changed by hand, whose words are to be looked at again. The hub's own connection
-- has triggers off.
CREATE TABLE IF NOT EXISTS hub_search_changed (
    row INTEGER NOT NULL PRIMARY KEY
) STRICT;

CREATE TRIGGER IF NOT EXISTS hub_search_insert AFTER INSERT ON chat_messages BEGIN
    INSERT INTO hub_search_changed (row) SELECT NEW.rowid
        WHERE NOT EXISTS (SELECT 1 FROM hub_search_changed WHERE row = NEW.rowid);
END;

CREATE TRIGGER IF NOT EXISTS hub_search_delete AFTER DELETE ON chat_messages BEGIN
    INSERT INTO hub_search_changed (row) SELECT OLD.rowid
        WHERE NOT EXISTS (SELECT 1 FROM hub_search_changed WHERE row = OLD.rowid);
END;

CREATE TRIGGER IF NOT EXISTS hub_search_update AFTER UPDATE OF content ON chat_messages BEGIN
    INSERT INTO hub_search_changed (row) SELECT NEW.rowid
        WHERE NOT EXISTS (SELECT 1 FROM hub_search_changed WHERE row = NEW.rowid);
END;
