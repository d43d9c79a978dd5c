-- One index a row. Within a space ids ascend as times do, so that its messages lie in one order,
-- by id; `timestamp` stays what it was, text that people can read.
--
-- The rows of an earlier version are copied before this script, many at a time and each stretch in
-- a transaction of its own, to the table below: what is left here are those that came since.
-- Indexes and triggers of others on `chat_messages` go with the earlier table.
CREATE TABLE IF NOT EXISTS hub_chat_messages (
    id        TEXT    NOT NULL,
    content   TEXT    NOT NULL,
    user_id   INTEGER NOT NULL,
    username  TEXT    NOT NULL,
    space_id  INTEGER NOT NULL,
    timestamp TEXT    NOT NULL
) STRICT;

INSERT INTO hub_chat_messages (rowid, id, content, user_id, username, space_id, timestamp)
    SELECT rowid, id, content, user_id, username, space_id, timestamp FROM chat_messages
    WHERE rowid > (SELECT coalesce(max(rowid), 0) FROM hub_chat_messages) ORDER BY rowid;

CREATE UNIQUE INDEX IF NOT EXISTS chat_messages_space_id_id_key
    ON hub_chat_messages (space_id, id);

-- Views of others that name the table do not hinder this, and are not changed.
PRAGMA legacy_alter_table = ON;
DROP TABLE chat_messages;
ALTER TABLE hub_chat_messages RENAME TO chat_messages;

-- Rows of each stretch of a space, by id: what `hub_space_blocks` was, without the order of times.
-- A space's number of rows is the sum of its blocks.
DROP TABLE hub_space_totals;
ALTER TABLE hub_space_blocks RENAME TO hub_earlier_blocks;
PRAGMA legacy_alter_table = OFF;

CREATE TABLE hub_space_blocks (
    space_id INTEGER NOT NULL,
    id       TEXT    NOT NULL,
    total    INTEGER NOT NULL,
    PRIMARY KEY (space_id, id)
) STRICT, WITHOUT ROWID;

INSERT INTO hub_space_blocks (space_id, id, total)
    SELECT space_id, id, total FROM hub_earlier_blocks WHERE ordering = 1;
DROP TABLE hub_earlier_blocks;

-- The triggers keep the blocks exact when rows are imported or deleted by hand. The hub's own
-- connection has triggers off and does the same once for each space of a batch.
-- They use no conflict clause, because that of the statement that fires them would win. Import
-- with INSERT or INSERT OR IGNORE; REPLACE deletes rows without telling triggers.
CREATE TRIGGER hub_chat_messages_insert AFTER INSERT ON chat_messages BEGIN
    INSERT INTO hub_space_blocks (space_id, id, total) SELECT NEW.space_id, '', 0
        WHERE NOT EXISTS (SELECT 1 FROM hub_space_blocks
                          WHERE space_id = NEW.space_id AND id = '');
    UPDATE hub_space_blocks SET total = total + 1
        WHERE space_id = NEW.space_id AND id =
            (SELECT max(id) FROM hub_space_blocks WHERE space_id = NEW.space_id AND id <= NEW.id);
    -- Halve the row's block when it is full: the upper half first, then the lower, which is now
    -- the row's block or the one before it.
    INSERT INTO hub_space_blocks (space_id, id, total)
        SELECT m.space_id, m.id, b.total - 4096
        FROM (SELECT * FROM hub_space_blocks WHERE space_id = NEW.space_id AND id <= NEW.id
              ORDER BY id DESC LIMIT 1) b
        CROSS JOIN chat_messages m
        WHERE b.total >= 8192 AND m.space_id = NEW.space_id AND m.id >= b.id
        ORDER BY m.id LIMIT 1 OFFSET 4096;
    UPDATE hub_space_blocks SET total = 4096
        WHERE space_id = NEW.space_id AND total >= 8192 AND id IN
            (SELECT id FROM hub_space_blocks WHERE space_id = NEW.space_id AND id <= NEW.id
             ORDER BY id DESC LIMIT 2);
END;

CREATE TRIGGER hub_chat_messages_delete AFTER DELETE ON chat_messages BEGIN
    UPDATE hub_space_blocks SET total = total - 1
        WHERE space_id = OLD.space_id AND id =
            (SELECT max(id) FROM hub_space_blocks WHERE space_id = OLD.space_id AND id <= OLD.id);
END;

-- What identifies or places a row is never changed: delete it and insert another.
CREATE TRIGGER hub_chat_messages_update
BEFORE UPDATE OF id, space_id, timestamp ON chat_messages BEGIN
    SELECT RAISE(ABORT, 'id, space_id and timestamp of a message are final');
END;
