-- Who works on the files of a session. A row outlives a crash of its server: what was begun is ended before
-- anybody else touches the files.
CREATE TABLE session_holds (
  session_id  text PRIMARY KEY,
  holder      text NOT NULL,
  purpose     text NOT NULL,
  create_time timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX session_holds_holder ON session_holds (holder);

-- The key under which a scan type is remembered: XNAT's, made of the series description (imaging/session/builder.h,
-- ScanTypeKey). ASCII only, so that it depends on no locale.
CREATE FUNCTION scan_type_key(description text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT translate(
    CASE WHEN left(description, 9) = 'INVALID: ' THEN substr(description, 10) ELSE description END,
    'abcdefghijklmnopqrstuvwxyz _-*', 'ABCDEFGHIJKLMNOPQRSTUVWXYZ')
$$;

-- Scans whose type somebody chose: the memory of a project's scan types. Few among all scans.
CREATE INDEX scans_chosen_type ON scans (project_id, scan_type_key(series_description))
  WHERE type <> series_description AND type <> 'unknown';
