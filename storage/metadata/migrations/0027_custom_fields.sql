-- Custom fields of subjects and projects, as sessions have them, and who changed what of a project or subject.

ALTER TABLE projects ADD COLUMN fields jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(fields) = 'object');
ALTER TABLE subjects
  ADD COLUMN fields      jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(fields) = 'object'),
  ADD COLUMN version     bigint NOT NULL DEFAULT 1,
  ADD COLUMN update_time timestamptz NOT NULL DEFAULT now();
-- Most subjects have none.
CREATE INDEX subjects_fields ON subjects USING gin (fields jsonb_path_ops);

CREATE TABLE project_history (
  project_id  text NOT NULL REFERENCES projects,
  subject_id  text NOT NULL,  -- '': the project's own row
  number      bigint NOT NULL,  -- the version that the change made
  change_time timestamptz NOT NULL DEFAULT now(),
  user_name   text NOT NULL,
  note        text NOT NULL,
  request_id  text NOT NULL,
  old_row     jsonb NOT NULL,
  new_row     jsonb NOT NULL,
  PRIMARY KEY (project_id, subject_id, number)
);
SELECT secure_project_table('project_history', false);
CREATE TRIGGER project_history_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON project_history
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
