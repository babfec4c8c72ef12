-- What stands for the SOP Instance UID that a sender used, of files whose UID a script replaced (docs/formats/database.md).
-- Storage commitment and merges ask for it. A hash index, as files_received.
ALTER TABLE files ADD COLUMN received_identity bytea NOT NULL DEFAULT '';
CREATE INDEX files_received_identity ON files USING hash (received_identity) WHERE received_identity <> '';
