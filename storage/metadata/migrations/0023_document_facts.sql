-- What a session's document says beside the columns (patient id, operator, field strength, tracer, ...) is searchable as
-- document.NAME. The document is the one source: whatever writes a version of it writes these. They are patient values, so they
-- stand in a table of their own, as documents do.

-- The texts of the elements of a session below its first and second level, without what repeats (scans, resources, fields, shares).
-- {"dcmPatientId": "P1", "tracer.name": "FDG"}
CREATE FUNCTION document_facts(document xml) RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT coalesce(jsonb_object_agg(fact.name, fact.value), '{}') FROM (
    SELECT DISTINCT ON (1) CASE WHEN t.depth = 1 THEN t.name ELSE t.parent || '.' || t.name END, left(t.value, 1000)
      FROM xmltable('/*/*[not(*)] | /*/*[not(local-name() = "scans" or local-name() = "resources" or local-name() = "fields" or local-name() = "sharing")]/*[not(*)]'
                    PASSING CASE WHEN document IS DOCUMENT THEN document END
                    COLUMNS depth int PATH 'count(ancestor::*)', parent text PATH 'local-name(..)',
                            name text PATH 'local-name()', value text PATH 'string()') t
      WHERE t.value <> '') AS fact(name, value) $$;

CREATE TABLE session_facts (
  project_id text NOT NULL,
  session_id text NOT NULL,
  facts      jsonb NOT NULL CHECK (jsonb_typeof(facts) = 'object'),
  PRIMARY KEY (project_id, session_id),
  FOREIGN KEY (project_id, session_id) REFERENCES sessions ON UPDATE CASCADE
);
SELECT secure_project_table('session_facts', true);

INSERT INTO session_facts SELECT DISTINCT ON (project_id, session_id) project_id, session_id, document_facts(document)
  FROM session_documents ORDER BY project_id, session_id, version DESC;
CREATE INDEX session_facts_values ON session_facts USING gin (facts jsonb_path_ops);

CREATE FUNCTION note_document_facts() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO session_facts VALUES (NEW.project_id, NEW.session_id, document_facts(NEW.document))
    ON CONFLICT (project_id, session_id) DO UPDATE SET facts = excluded.facts;
  RETURN NULL;
END $$;
CREATE TRIGGER session_documents_facts AFTER INSERT ON session_documents
  FOR EACH ROW EXECUTE FUNCTION note_document_facts();
