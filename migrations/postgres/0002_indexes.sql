-- For history by position, and by page. Each statement stands alone, outside a transaction:
-- others go on writing while an index is built. One that was left invalid is built again.
CREATE INDEX CONCURRENTLY IF NOT EXISTS chat_messages_space_id_id
    ON chat_messages (space_id, id COLLATE "C");

CREATE INDEX CONCURRENTLY IF NOT EXISTS chat_messages_space_id_timestamp_id
    ON chat_messages (space_id, timestamp, id COLLATE "C");
