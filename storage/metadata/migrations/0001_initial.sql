-- The first schema. docs/formats/database.md explains it. Every table that belongs to a project has project_id in
-- its key, so that Citus can distribute it; the others (people, counters, requests) are small and become
-- reference tables there.

CREATE FUNCTION unix_us(timestamptz) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
  AS $$ SELECT (extract(epoch FROM $1) * 1000000)::bigint $$;

-- The numbers that filters compare: NULL for text that is not one.
CREATE FUNCTION number_of(text) RETURNS double precision LANGUAGE sql IMMUTABLE PARALLEL SAFE
  AS $$ SELECT CASE WHEN $1 ~ '^[+-]?(\d{1,30}(\.\d{0,30})?|\.\d{1,30})([eE][+-]?\d{1,2})?$'
                    THEN $1::double precision END $$;

-- ---- projects and people ----

CREATE TABLE projects (
  project_id    text PRIMARY KEY CHECK (project_id ~ '^[A-Za-z0-9_-]{1,64}$'),
  name          text NOT NULL DEFAULT '',
  description   text NOT NULL DEFAULT '',
  aliases       text[] NOT NULL DEFAULT '{}',
  accessibility text NOT NULL DEFAULT 'PRIVATE' CHECK (accessibility IN ('PRIVATE', 'PROTECTED', 'PUBLIC')),
  auto_archive  text NOT NULL DEFAULT 'MANUAL' CHECK (auto_archive IN ('MANUAL', 'AUTO', 'OVERWRITE')),
  quarantine    boolean NOT NULL DEFAULT false,
  settings      jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(settings) = 'object'),
  version       bigint NOT NULL DEFAULT 1,
  create_time   timestamptz NOT NULL DEFAULT now(),
  update_time   timestamptz NOT NULL DEFAULT now()
);

-- All names that route to a project: its id, in lower case, and its aliases. One name, one project.
CREATE TABLE project_names (
  name       text PRIMARY KEY,
  project_id text NOT NULL REFERENCES projects,
  is_alias   boolean NOT NULL
);
CREATE INDEX project_names_project ON project_names (project_id);

CREATE TABLE users (
  user_name      text PRIMARY KEY CHECK (user_name ~ '^[a-z0-9._@-]{1,64}$'),
  display_name   text NOT NULL DEFAULT '',
  site_admin     boolean NOT NULL DEFAULT false,
  all_data_read  boolean NOT NULL DEFAULT false,
  all_data_admin boolean NOT NULL DEFAULT false,
  disabled       boolean NOT NULL DEFAULT false,
  create_time    timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE tokens (
  token_id    text PRIMARY KEY,
  hash        bytea NOT NULL CHECK (octet_length(hash) = 32),
  user_name   text NOT NULL REFERENCES users,
  description text NOT NULL DEFAULT '',
  create_time timestamptz NOT NULL DEFAULT now(),
  expire_time timestamptz NOT NULL DEFAULT 'infinity',
  revoke_time timestamptz
);
CREATE UNIQUE INDEX tokens_hash ON tokens (hash);
CREATE INDEX tokens_user ON tokens (user_name);

CREATE TABLE members (
  project_id text NOT NULL REFERENCES projects,
  user_name  text NOT NULL REFERENCES users,
  role       text NOT NULL CHECK (role IN ('OWNER', 'MEMBER', 'COLLABORATOR')),
  PRIMARY KEY (project_id, user_name)
);
CREATE INDEX members_user ON members (user_name);

-- ---- ids and requests ----

CREATE TABLE accession_counters (
  site text NOT NULL,
  kind text NOT NULL CHECK (kind IN ('E', 'S')),
  next bigint NOT NULL,
  PRIMARY KEY (site, kind)
);

-- The next id. The row lock is held until the caller's transaction ends, so callers keep that short.
CREATE FUNCTION take_accession(site_name text, kind_letter text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  taken bigint;
BEGIN
  INSERT INTO accession_counters AS c VALUES (site_name, kind_letter, 2)
    ON CONFLICT (site, kind) DO UPDATE SET next = c.next + 1
    RETURNING next - 1 INTO taken;
  RETURN site_name || '_' || kind_letter || repeat('0', greatest(0, 5 - length(taken::text))) || taken;
END $$;

CREATE TABLE requests (
  request_id  text PRIMARY KEY,
  method      text NOT NULL,
  answer      text[] NOT NULL,
  create_time timestamptz NOT NULL DEFAULT now()
);

-- ---- subjects and sessions ----

CREATE TABLE subjects (
  project_id  text NOT NULL REFERENCES projects,
  subject_id  text NOT NULL,
  uid         uuid NOT NULL DEFAULT gen_random_uuid(),
  label       text NOT NULL CHECK (label ~ '^[A-Za-z0-9_.-]{1,64}$'),
  status      text NOT NULL CHECK (status IN ('RESERVED', 'ACTIVE')),  -- RESERVED: promised, not visible
  create_time timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (project_id, subject_id)
);
CREATE UNIQUE INDEX subjects_label ON subjects (project_id, lower(label));

CREATE TABLE reservations (
  request_id  text PRIMARY KEY,
  project_id  text NOT NULL,
  session_id  text NOT NULL,
  uid         uuid NOT NULL,
  create_time timestamptz NOT NULL DEFAULT now()
);

-- The subject's id: existing, or a new one in the given status.
CREATE FUNCTION subject_for(site text, project text, subject_label text, new_status text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
  existing text;
BEGIN
  LOOP
    SELECT subject_id INTO existing FROM subjects WHERE project_id = project AND lower(label) = lower(subject_label);
    EXIT WHEN FOUND;
    INSERT INTO subjects (project_id, subject_id, label, status)
      VALUES (project, take_accession(site, 'S'), subject_label, new_status)
      ON CONFLICT (project_id, lower(label)) DO NOTHING;
  END LOOP;
  RETURN existing;
END $$;

CREATE FUNCTION reserve_session(site text, project text, subject_label text, request text)
RETURNS TABLE (session_id text, uid text, subject_id text) LANGUAGE plpgsql AS $$
BEGIN
  IF NOT EXISTS (SELECT 1 FROM projects p WHERE p.project_id = project) THEN
    RAISE EXCEPTION 'PROJECT_NOT_FOUND' USING ERRCODE = 'NX404';
  END IF;
  IF NOT EXISTS (SELECT 1 FROM reservations r WHERE r.request_id = request AND r.project_id = project) THEN
    INSERT INTO reservations AS r VALUES (request, project, take_accession(site, 'E'), gen_random_uuid())
      ON CONFLICT (request_id) DO NOTHING;
  END IF;
  RETURN QUERY SELECT r.session_id, r.uid::text, subject_for(site, project, subject_label, 'RESERVED')
    FROM reservations r WHERE r.request_id = request AND r.project_id = project;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'REQUEST_ID_REUSED' USING ERRCODE = 'NX412';
  END IF;
END $$;

CREATE TABLE sessions (
  project_id           text NOT NULL REFERENCES projects,
  session_id           text NOT NULL,
  uid                  uuid NOT NULL,
  subject_id           text NOT NULL,
  label                text NOT NULL CHECK (label ~ '^[A-Za-z0-9_.-]{1,64}$'),
  study_instance_uid   text NOT NULL,
  modality             text NOT NULL,
  session_type         text NOT NULL,
  session_date         date,
  session_time         time,
  scanner              text NOT NULL,
  scanner_manufacturer text NOT NULL,
  scanner_model        text NOT NULL,
  acquisition_site     text NOT NULL,
  description          text NOT NULL,
  fields               jsonb NOT NULL DEFAULT '{}',
  folder               text NOT NULL,
  scan_count           bigint NOT NULL,
  file_count           bigint NOT NULL,
  size_bytes           bigint NOT NULL,
  status               text NOT NULL CHECK (status IN ('ACTIVE', 'QUARANTINE', 'LOCKED', 'DELETED')),
  version              bigint NOT NULL DEFAULT 1,
  create_time          timestamptz NOT NULL DEFAULT now(),
  update_time          timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (project_id, session_id),
  FOREIGN KEY (project_id, subject_id) REFERENCES subjects
);
CREATE UNIQUE INDEX sessions_label ON sessions (project_id, lower(label)) WHERE status <> 'DELETED';
CREATE INDEX sessions_id ON sessions (session_id);
CREATE INDEX sessions_study ON sessions (study_instance_uid);
CREATE INDEX sessions_subject ON sessions (project_id, subject_id);
CREATE INDEX sessions_newest ON sessions (create_time, session_id);
CREATE INDEX sessions_date ON sessions (session_date);

-- Every version of a session's XML; the newest counts.
CREATE TABLE session_documents (
  project_id text NOT NULL,
  session_id text NOT NULL,
  version    bigint NOT NULL,
  document   xml NOT NULL,
  PRIMARY KEY (project_id, session_id, version),
  FOREIGN KEY (project_id, session_id) REFERENCES sessions
);

CREATE TABLE scans (
  project_id           text NOT NULL,
  session_id           text NOT NULL,
  scan_id              text NOT NULL,
  type                 text NOT NULL,
  xsi_type             text NOT NULL,
  series_instance_uid  text NOT NULL,
  series_description   text NOT NULL,
  modality             text NOT NULL,
  frames               bigint NOT NULL,
  quality              text NOT NULL,
  note                 text NOT NULL,
  start_time           time,
  scanner              text NOT NULL,
  scanner_manufacturer text NOT NULL,
  scanner_model        text NOT NULL,
  body_part            text NOT NULL,
  protocol_name        text NOT NULL,
  parameters           jsonb NOT NULL DEFAULT '{}',
  file_count           bigint NOT NULL DEFAULT 0,
  size_bytes           bigint NOT NULL DEFAULT 0,
  PRIMARY KEY (project_id, session_id, scan_id),
  FOREIGN KEY (project_id, session_id) REFERENCES sessions
);
CREATE INDEX scans_series ON scans (series_instance_uid);

CREATE TABLE resources (
  project_id   text NOT NULL,
  session_id   text NOT NULL,
  scan_id      text NOT NULL,  -- '': of the session itself
  label        text NOT NULL,
  format       text NOT NULL,
  content      text NOT NULL,
  catalog_path text NOT NULL,
  file_count   bigint NOT NULL DEFAULT 0,
  size_bytes   bigint NOT NULL DEFAULT 0,
  PRIMARY KEY (project_id, session_id, scan_id, label),
  FOREIGN KEY (project_id, session_id) REFERENCES sessions
);

-- No foreign key: rows come in by thousands, always in one transaction with their session.
CREATE TABLE files (
  project_id      text NOT NULL,
  session_id      text NOT NULL,
  file_no         bigint NOT NULL,
  path            text NOT NULL,
  scan_id         text NOT NULL,
  resource        text NOT NULL,
  instance_uid    text NOT NULL,
  sop_class_uid   text NOT NULL,
  instance_number bigint NOT NULL,
  size_bytes      bigint NOT NULL,
  md5             bytea NOT NULL,
  sha256          bytea NOT NULL,
  xxh3_received   bytea NOT NULL,
  xxh3_stored     bytea NOT NULL,
  format          text NOT NULL,
  PRIMARY KEY (project_id, session_id, file_no)
);
CREATE UNIQUE INDEX files_path ON files (project_id, session_id, path);

CREATE TABLE session_history (
  project_id  text NOT NULL,
  session_id  text NOT NULL,
  number      bigint NOT NULL,  -- the version that the change made
  change_time timestamptz NOT NULL DEFAULT now(),
  user_name   text NOT NULL,
  action      text NOT NULL,
  note        text NOT NULL,
  request_id  text NOT NULL,
  old_row     jsonb,
  new_row     jsonb NOT NULL,
  PRIMARY KEY (project_id, session_id, number)
);

-- ---- settings ----

CREATE TABLE settings (
  project_id  text NOT NULL,  -- '': the site
  key         text NOT NULL CHECK (key ~ '^[A-Za-z0-9._-]{1,128}$'),
  value       jsonb NOT NULL,
  version     bigint NOT NULL DEFAULT 1,
  user_name   text NOT NULL,
  update_time timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (project_id, key)
);

CREATE TABLE scripts (
  project_id  text NOT NULL,  -- '': the site
  kind        text NOT NULL CHECK (kind ~ '^[a-z0-9-]{1,64}$'),
  version     bigint NOT NULL,
  script      text NOT NULL,
  enabled     boolean NOT NULL,
  user_name   text NOT NULL,
  create_time timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (project_id, kind, version)
);

CREATE TABLE receivers (
  ae_title   text PRIMARY KEY CHECK (ae_title ~ '^[\x20-\x5b\x5d-\x7e]{1,16}$' AND btrim(ae_title) = ae_title),
  port       integer NOT NULL CHECK (port BETWEEN 0 AND 65535),
  project_id text REFERENCES projects,
  enabled    boolean NOT NULL DEFAULT true,
  settings   jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(settings) = 'object')
);

CREATE TABLE study_routes (
  study_instance_uid text PRIMARY KEY CHECK (study_instance_uid ~ '^[0-9.]{1,64}$'),
  project_id         text NOT NULL REFERENCES projects,
  subject_label      text NOT NULL,
  session_label      text NOT NULL,
  create_time        timestamptz NOT NULL DEFAULT now()
);

-- ---- audit ----

CREATE TABLE audit_events (
  project_id text NOT NULL,  -- '': the site
  sequence   bigint NOT NULL,
  time_us    bigint NOT NULL,
  user_name  text NOT NULL,
  action     text NOT NULL,
  object     text NOT NULL,
  details    text NOT NULL CHECK (jsonb_typeof(details::jsonb) = 'object'),
  hash       bytea NOT NULL,
  PRIMARY KEY (project_id, sequence)
);

-- The end of each chain. Its row lock orders the events of one project, so appending is a transaction's last step.
CREATE TABLE audit_heads (
  project_id text PRIMARY KEY,
  sequence   bigint NOT NULL,
  hash       bytea NOT NULL
);

-- A field of the hashed text: its length in bytes, ':', itself.
CREATE FUNCTION audit_field(value text) RETURNS text LANGUAGE sql IMMUTABLE
  AS $$ SELECT octet_length(convert_to(value, 'UTF8')) || ':' || value $$;

CREATE FUNCTION append_audit(project text, actor text, event_action text, event_object text, event_details text)
RETURNS SETOF audit_events LANGUAGE plpgsql AS $$
DECLARE
  head audit_heads;
  event audit_events;
BEGIN
  INSERT INTO audit_heads VALUES (project, 0, '') ON CONFLICT (project_id) DO NOTHING;
  SELECT * INTO head FROM audit_heads h WHERE h.project_id = project FOR UPDATE;
  event.project_id := project;
  event.sequence := head.sequence + 1;
  event.time_us := unix_us(clock_timestamp());
  event.user_name := actor;
  event.action := event_action;
  event.object := event_object;
  event.details := event_details;
  event.hash := sha256(head.hash || convert_to(
    audit_field(event.project_id) || audit_field(event.sequence::text) || audit_field(event.time_us::text) ||
    audit_field(event.user_name) || audit_field(event.action) || audit_field(event.object) ||
    audit_field(event.details), 'UTF8'));
  INSERT INTO audit_events SELECT event.*;
  UPDATE audit_heads SET sequence = event.sequence, hash = event.hash WHERE project_id = project;
  RETURN NEXT event;
END $$;

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'AUDIT_APPEND_ONLY' USING ERRCODE = 'NX412';
END $$;
CREATE TRIGGER audit_events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_events
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER session_history_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON session_history
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
