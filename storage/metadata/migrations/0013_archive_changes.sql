-- What archived sessions can become: moved, shared, with resources added and removed, restored, purged.

-- Purging removes a deleted session's files for good; its rows stay as the record of what was there.
ALTER TABLE sessions
  ADD COLUMN note           text NOT NULL DEFAULT '',
  -- The status that restoring gives back.
  ADD COLUMN restore_status text NOT NULL DEFAULT 'ACTIVE' CHECK (restore_status IN ('ACTIVE', 'QUARANTINE', 'LOCKED')),
  ADD COLUMN purge_state    text NOT NULL DEFAULT '' CHECK (purge_state IN ('', 'PURGING', 'PURGED')),
  ADD CONSTRAINT sessions_purge_deleted CHECK (purge_state = '' OR status = 'DELETED');
CREATE INDEX sessions_purging ON sessions (session_id) WHERE purge_state = 'PURGING';

-- A session keeps its history when it moves to another project: rows stay in the project where things happened.
CREATE INDEX session_history_session ON session_history (session_id);

-- What belongs to a session moves with it.
ALTER TABLE session_documents DROP CONSTRAINT session_documents_project_id_session_id_fkey,
  ADD FOREIGN KEY (project_id, session_id) REFERENCES sessions ON UPDATE CASCADE;
ALTER TABLE scans DROP CONSTRAINT scans_project_id_session_id_fkey,
  ADD FOREIGN KEY (project_id, session_id) REFERENCES sessions ON UPDATE CASCADE;
ALTER TABLE resources DROP CONSTRAINT resources_project_id_session_id_fkey,
  ADD FOREIGN KEY (project_id, session_id) REFERENCES sessions ON UPDATE CASCADE;

-- Files that were taken out of a resource: they stay on the disk (stored_path) until the session is purged.
CREATE TABLE removed_files (
  project_id  text NOT NULL,
  session_id  text NOT NULL,
  number      bigint NOT NULL,  -- the version that took it out
  path        text NOT NULL,    -- where it was
  stored_path text NOT NULL,    -- where it is
  scan_id     text NOT NULL,
  resource    text NOT NULL,
  size_bytes  bigint NOT NULL,
  sha256      bytea NOT NULL,
  request_id  text NOT NULL,
  PRIMARY KEY (project_id, session_id, number, path),
  FOREIGN KEY (project_id, session_id) REFERENCES sessions ON UPDATE CASCADE
);
CREATE INDEX removed_files_request ON removed_files (request_id);

-- A session that another project's members may see, under a label of that project.
CREATE TABLE session_shares (
  project_id       text NOT NULL REFERENCES projects,  -- who may see it
  session_id       text NOT NULL,
  label            text NOT NULL CHECK (label ~ '^[A-Za-z0-9_.-]{1,64}$'),
  owner_project_id text NOT NULL,
  user_name        text NOT NULL,
  create_time      timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (project_id, session_id),
  FOREIGN KEY (owner_project_id, session_id) REFERENCES sessions (project_id, session_id) ON UPDATE CASCADE
);
CREATE UNIQUE INDEX session_shares_label ON session_shares (project_id, lower(label));
CREATE INDEX session_shares_session ON session_shares (session_id);

-- One label in a project means one session, be it its own or a shared one. The project's row orders the two sides: sessions
-- hold it in KEY SHARE, shares in UPDATE. They look at everything, whoever asks (0020_row_security).
CREATE FUNCTION refuse_label_of_share() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  former text := coalesce(current_setting('narthex.system', true), '');
BEGIN
  IF NOT EXISTS (SELECT 1 FROM changed WHERE status <> 'DELETED') THEN RETURN NULL; END IF;
  PERFORM set_config('narthex.system', 'on', true);
  PERFORM 1 FROM projects p WHERE p.project_id IN (SELECT c.project_id FROM changed c) FOR KEY SHARE;
  IF EXISTS (SELECT 1 FROM session_shares h JOIN changed c ON h.project_id = c.project_id AND lower(h.label) = lower(c.label)
             WHERE c.status <> 'DELETED') THEN
    RAISE EXCEPTION 'the label is that of a shared session' USING ERRCODE = 'unique_violation', CONSTRAINT = 'sessions_label';
  END IF;
  PERFORM set_config('narthex.system', former, true);
  RETURN NULL;
END $$;
CREATE TRIGGER sessions_label_insert AFTER INSERT ON sessions REFERENCING NEW TABLE AS changed
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_label_of_share();
CREATE TRIGGER sessions_label_update AFTER UPDATE ON sessions REFERENCING NEW TABLE AS changed
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_label_of_share();

CREATE FUNCTION refuse_share_of_label() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  former text := coalesce(current_setting('narthex.system', true), '');
BEGIN
  PERFORM set_config('narthex.system', 'on', true);
  PERFORM 1 FROM projects p WHERE p.project_id = NEW.project_id FOR UPDATE;
  IF EXISTS (SELECT 1 FROM sessions s WHERE s.project_id = NEW.project_id AND lower(s.label) = lower(NEW.label)
             AND s.status <> 'DELETED') THEN
    RAISE EXCEPTION 'the label is taken' USING ERRCODE = 'unique_violation', CONSTRAINT = 'session_shares_label';
  END IF;
  PERFORM set_config('narthex.system', former, true);
  RETURN NEW;
END $$;
CREATE TRIGGER session_shares_label_insert BEFORE INSERT ON session_shares
  FOR EACH ROW EXECUTE FUNCTION refuse_share_of_label();

-- Who may see and change these rows (0020_row_security has the rights and the other tables). `kind`: read, edit, own.
CREATE FUNCTION row_allowed(kind text, project text) RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT coalesce(current_setting('narthex.system', true), '') = 'on'
      OR coalesce(current_setting('narthex.' || kind, true), '') = '*'
      OR project = ANY(string_to_array(coalesce(current_setting('narthex.' || kind, true), ''), ',')) $$;

ALTER TABLE removed_files ENABLE ROW LEVEL SECURITY;
ALTER TABLE removed_files FORCE ROW LEVEL SECURITY;
CREATE POLICY readers ON removed_files FOR SELECT USING (row_allowed('read', project_id));
CREATE POLICY changers ON removed_files USING (row_allowed('edit', project_id));

-- Both projects know of a share. The session's gives it, with the consent of the other one; either takes it back.
ALTER TABLE session_shares ENABLE ROW LEVEL SECURITY;
ALTER TABLE session_shares FORCE ROW LEVEL SECURITY;
CREATE POLICY readers ON session_shares FOR SELECT
  USING (row_allowed('read', project_id) OR row_allowed('read', owner_project_id));
CREATE POLICY adders ON session_shares FOR INSERT
  WITH CHECK (row_allowed('edit', project_id) AND row_allowed('own', owner_project_id));
CREATE POLICY changers ON session_shares FOR UPDATE USING (row_allowed('edit', owner_project_id));
CREATE POLICY removers ON session_shares FOR DELETE
  USING (row_allowed('own', project_id) OR row_allowed('own', owner_project_id));
