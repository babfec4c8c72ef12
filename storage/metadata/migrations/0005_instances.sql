-- Storage commitment asks which instances the archive holds, whatever their project. A hash index, as files_received.
CREATE INDEX files_instance ON files USING hash (instance_uid) WHERE instance_uid <> '';
