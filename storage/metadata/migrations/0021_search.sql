-- Searching a million sessions and ten million scans. docs/benchmarks.md has the measurements.

-- In plpgsql, so that it is not dissolved into its parts, of which the next statement could not say what it says of the whole.
CREATE OR REPLACE FUNCTION number_of(text) RETURNS double precision LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
  RETURN CASE WHEN $1 ~ '^[+-]?(\d{1,30}(\.\d{0,30})?|\.\d{1,30})([eE][+-]?\d{1,2})?$' THEN $1::double precision END;
END $$;

-- Row-level security looks first, and lets an index look before it only for functions that are known to keep what they
-- are given to themselves. These do; PostgreSQL marks few. Needs a superuser (the private server's owner is one): elsewhere
-- searches by text, parameters and custom fields are slower for users without a role over all projects, until an administrator runs
-- the same (docs/operations.md).
DO $$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['number_of(text)', 'pg_catalog.jsonb_object_field_text(jsonb, text)',
                              'pg_catalog.jsonb_contains(jsonb, jsonb)', 'pg_catalog.jsonb_exists(jsonb, text)',
                              'pg_catalog.textlike(text, text)', 'pg_catalog.texticlike(text, text)',
                              'pg_catalog.lower(text)'] LOOP
    EXECUTE format('ALTER FUNCTION %s LEAKPROOF', name);
  END LOOP;
EXCEPTION WHEN insufficient_privilege THEN NULL;
END $$;

-- What is contained somewhere in a text. The extension is trusted, so that the owner of a database may make it; a site
-- without it searches the slow way.
DO $$
BEGIN
  CREATE EXTENSION IF NOT EXISTS pg_trgm;
  CREATE INDEX sessions_label_words ON sessions USING gin (label gin_trgm_ops);
  CREATE INDEX sessions_description_words ON sessions USING gin (description gin_trgm_ops);
  CREATE INDEX subjects_label_words ON subjects USING gin (label gin_trgm_ops);
  CREATE INDEX scans_description_words ON scans USING gin (series_description gin_trgm_ops);
EXCEPTION WHEN insufficient_privilege OR undefined_file OR feature_not_supported OR undefined_object THEN NULL;
END $$;

CREATE INDEX sessions_label_order ON sessions (label, session_id);
CREATE INDEX sessions_date_order ON sessions ((coalesce(session_date, '-infinity'::date)), session_id);
CREATE INDEX sessions_project_newest ON sessions (project_id, create_time, session_id);
CREATE INDEX sessions_modality ON sessions (modality, create_time, session_id);
CREATE INDEX sessions_scanner ON sessions (scanner);
CREATE INDEX sessions_size ON sessions (size_bytes);
CREATE INDEX sessions_scans ON sessions (scan_count);
CREATE INDEX sessions_fields ON sessions USING gin (fields jsonb_path_ops);
CREATE INDEX subjects_label_text ON subjects (label);

CREATE INDEX scans_type ON scans (type);
CREATE INDEX scans_parameters ON scans USING gin (parameters jsonb_path_ops);
CREATE INDEX scans_tr ON scans ((number_of(parameters ->> 'tr')));
CREATE INDEX scans_te ON scans ((number_of(parameters ->> 'te')));
CREATE INDEX scans_frames ON scans (frames);
