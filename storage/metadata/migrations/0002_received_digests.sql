-- FindMissing asks which digests a project's archive holds. A hash index: equality is all that is asked, and it costs
-- an insert less than a btree over random bytes.
CREATE INDEX files_received ON files USING hash (xxh3_received) WHERE xxh3_received <> '';
