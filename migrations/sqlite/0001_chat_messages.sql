-- The messages themselves: the columns of the existing PostgreSQL database, so that its rows
-- copy over. `timestamp` is the wall clock of the hub's fixed offset, without a zone:
-- YYYY-MM-DD HH:MM:SS.ffffff.
CREATE TABLE chat_messages (
    id        TEXT    NOT NULL PRIMARY KEY,
    content   TEXT    NOT NULL,
    user_id   INTEGER NOT NULL,
    username  TEXT    NOT NULL,
    space_id  INTEGER NOT NULL,
    timestamp TEXT    NOT NULL
) STRICT;

CREATE INDEX chat_messages_space_id_id ON chat_messages (space_id, id);
CREATE INDEX chat_messages_space_id_timestamp_id ON chat_messages (space_id, timestamp, id);

-- How far each journal is stored; changed in the transaction of the rows.
CREATE TABLE hub_positions (
    journal  TEXT    NOT NULL PRIMARY KEY,
    position INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Rows of each space.
CREATE TABLE hub_space_totals (
    space_id INTEGER NOT NULL PRIMARY KEY,
    total    INTEGER NOT NULL
) STRICT;

-- Rows of each stretch of a space, so that a numbered page is found at any depth without
-- counting all rows before it. A block counts the rows from its key up to the next block's; the
-- first block of a space has the empty key. `ordering` 0: by (timestamp, id); 1: by id, where
-- `timestamp` stays empty. A block that reaches 8192 rows is halved.
CREATE TABLE hub_space_blocks (
    space_id  INTEGER NOT NULL,
    ordering  INTEGER NOT NULL,
    timestamp TEXT    NOT NULL,
    id        TEXT    NOT NULL,
    total     INTEGER NOT NULL,
    PRIMARY KEY (space_id, ordering, timestamp, id)
) STRICT, WITHOUT ROWID;

-- The triggers keep both exact when rows are imported or deleted by hand. The hub's own
-- connection has triggers off and does the same once for each space of a batch.
-- They use no conflict clause, because that of the statement that fires them would win. Import
-- with INSERT or INSERT OR IGNORE; REPLACE deletes rows without telling triggers.
CREATE TRIGGER hub_chat_messages_insert AFTER INSERT ON chat_messages BEGIN
    INSERT INTO hub_space_totals (space_id, total) SELECT NEW.space_id, 0
        WHERE NOT EXISTS (SELECT 1 FROM hub_space_totals WHERE space_id = NEW.space_id);
    UPDATE hub_space_totals SET total = total + 1 WHERE space_id = NEW.space_id;
    INSERT INTO hub_space_blocks (space_id, ordering, timestamp, id, total)
        SELECT NEW.space_id, column1, '', '', 0 FROM (VALUES (0), (1))
        WHERE NOT EXISTS (SELECT 1 FROM hub_space_blocks WHERE space_id = NEW.space_id
                          AND ordering = column1 AND timestamp = '' AND id = '');
    UPDATE hub_space_blocks SET total = total + 1
        WHERE space_id = NEW.space_id AND ordering = 0 AND (timestamp, id) =
            (SELECT timestamp, id FROM hub_space_blocks
             WHERE space_id = NEW.space_id AND ordering = 0
               AND (timestamp, id) <= (NEW.timestamp, NEW.id)
             ORDER BY timestamp DESC, id DESC LIMIT 1);
    UPDATE hub_space_blocks SET total = total + 1
        WHERE space_id = NEW.space_id AND ordering = 1 AND timestamp = '' AND id =
            (SELECT id FROM hub_space_blocks
             WHERE space_id = NEW.space_id AND ordering = 1 AND timestamp = '' AND id <= NEW.id
             ORDER BY id DESC LIMIT 1);
    -- Halve the row's block when it is full: the upper half first, then the lower, which is now
    -- the row's block or the one before it.
    INSERT INTO hub_space_blocks (space_id, ordering, timestamp, id, total)
        SELECT m.space_id, 0, m.timestamp, m.id, b.total - 4096
        FROM (SELECT * FROM hub_space_blocks WHERE space_id = NEW.space_id AND ordering = 0
              AND (timestamp, id) <= (NEW.timestamp, NEW.id)
              ORDER BY timestamp DESC, id DESC LIMIT 1) b
        CROSS JOIN chat_messages m
        WHERE b.total >= 8192 AND m.space_id = NEW.space_id
          AND (m.timestamp, m.id) >= (b.timestamp, b.id)
        ORDER BY m.timestamp, m.id LIMIT 1 OFFSET 4096;
    UPDATE hub_space_blocks SET total = 4096
        WHERE space_id = NEW.space_id AND ordering = 0 AND total >= 8192 AND (timestamp, id) IN
            (SELECT timestamp, id FROM hub_space_blocks
             WHERE space_id = NEW.space_id AND ordering = 0
               AND (timestamp, id) <= (NEW.timestamp, NEW.id)
             ORDER BY timestamp DESC, id DESC LIMIT 2);
    INSERT INTO hub_space_blocks (space_id, ordering, timestamp, id, total)
        SELECT m.space_id, 1, '', m.id, b.total - 4096
        FROM (SELECT * FROM hub_space_blocks WHERE space_id = NEW.space_id AND ordering = 1
              AND timestamp = '' AND id <= NEW.id ORDER BY id DESC LIMIT 1) b
        CROSS JOIN chat_messages m
        WHERE b.total >= 8192 AND m.space_id = NEW.space_id AND m.id >= b.id
        ORDER BY m.id LIMIT 1 OFFSET 4096;
    UPDATE hub_space_blocks SET total = 4096
        WHERE space_id = NEW.space_id AND ordering = 1 AND total >= 8192 AND timestamp = ''
          AND id IN
            (SELECT id FROM hub_space_blocks
             WHERE space_id = NEW.space_id AND ordering = 1 AND timestamp = '' AND id <= NEW.id
             ORDER BY id DESC LIMIT 2);
END;

CREATE TRIGGER hub_chat_messages_delete AFTER DELETE ON chat_messages BEGIN
    UPDATE hub_space_totals SET total = total - 1 WHERE space_id = OLD.space_id;
    UPDATE hub_space_blocks SET total = total - 1
        WHERE space_id = OLD.space_id AND ordering = 0 AND (timestamp, id) =
            (SELECT timestamp, id FROM hub_space_blocks
             WHERE space_id = OLD.space_id AND ordering = 0
               AND (timestamp, id) <= (OLD.timestamp, OLD.id)
             ORDER BY timestamp DESC, id DESC LIMIT 1);
    UPDATE hub_space_blocks SET total = total - 1
        WHERE space_id = OLD.space_id AND ordering = 1 AND timestamp = '' AND id =
            (SELECT id FROM hub_space_blocks
             WHERE space_id = OLD.space_id AND ordering = 1 AND timestamp = '' AND id <= OLD.id
             ORDER BY id DESC LIMIT 1);
END;

-- What identifies or places a row is never changed: delete it and insert another.
CREATE TRIGGER hub_chat_messages_update
BEFORE UPDATE OF id, space_id, timestamp ON chat_messages BEGIN
    SELECT RAISE(ABORT, 'id, space_id and timestamp of a message are final');
END;
