-- Searches of people who see some projects only. docs/benchmarks.md has the measurements.

-- The same answers; most numbers are digits with a point, which take no regular expression.
CREATE OR REPLACE FUNCTION number_of(text) RETURNS double precision LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
  IF octet_length($1) <= 30 AND translate($1, '0123456789', '') IN ('', '.') AND $1 NOT IN ('', '.') THEN
    RETURN $1::double precision;
  END IF;
  RETURN CASE WHEN $1 ~ '^[+-]?(\d{1,30}(\.\d{0,30})?|\.\d{1,30})([eE][+-]?\d{1,2})?$' THEN $1::double precision END;
END $$;
-- As in 0021_search.
DO $$ BEGIN
  ALTER FUNCTION number_of(text) LEAKPROOF;
EXCEPTION WHEN insufficient_privilege THEN NULL;
END $$;

-- What the newest of those found by scans are needs no look at the rows.
DROP INDEX sessions_id;
CREATE INDEX sessions_id ON sessions (session_id) INCLUDE (project_id, status, create_time);
CREATE INDEX sessions_project_modality ON sessions (project_id, modality, create_time, session_id);
