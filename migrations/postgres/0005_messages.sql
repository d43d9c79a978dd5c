-- The messages, where there are none: one index a row. Within a space ids ascend as times do, so
-- that its messages lie in one order, by id. `timestamp` is the wall clock of the hub's fixed
-- offset, without a zone. The key's name says that the hub made the table.
CREATE TABLE chat_messages (
    id        TEXT      COLLATE "C" NOT NULL,
    content   TEXT      NOT NULL,
    user_id   INTEGER   NOT NULL,
    username  TEXT      NOT NULL,
    space_id  INTEGER   NOT NULL,
    timestamp TIMESTAMP NOT NULL DEFAULT now(),
    CONSTRAINT hub_messages_key PRIMARY KEY (space_id, id)
);
