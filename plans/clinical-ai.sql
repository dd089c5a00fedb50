-- What the migrations of the service make: its tables, and the rows whose buckets the plan sets.
CREATE TABLE cai_defined_sources (name text PRIMARY KEY, config jsonb NOT NULL DEFAULT '{}');
CREATE TABLE cai_defined_destinations (name text PRIMARY KEY, config jsonb NOT NULL DEFAULT '{}');
CREATE TABLE cai_connectors (id int PRIMARY KEY, source_config_override jsonb);
INSERT INTO cai_defined_sources VALUES ('imaging', '{"format": "dicom", "retries": 3}'), ('notes', '{"format": "text"}');
INSERT INTO cai_defined_destinations VALUES ('results', '{"format": "parquet"}');
INSERT INTO cai_connectors VALUES (7, NULL), (8, '{"storage": {"bucket": "another"}}');
