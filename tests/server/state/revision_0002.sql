BEGIN TRANSACTION;
CREATE TABLE activations (
	id INTEGER NOT NULL, 
	bundle_id VARCHAR(12) NOT NULL, 
	why VARCHAR(255) NOT NULL, 
	at DATETIME NOT NULL, 
	CONSTRAINT pk_activations PRIMARY KEY (id), 
	CONSTRAINT fk_activations_bundle_id FOREIGN KEY(bundle_id) REFERENCES models (bundle_id)
);
INSERT INTO "activations" VALUES(1,'0123456789ab','the server was started with it','2026-11-26 07:30:00.000000');
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0002');
CREATE TABLE detections (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	identification INTEGER NOT NULL, 
	recording VARCHAR(64) NOT NULL, 
	start_s DOUBLE NOT NULL, 
	end_s DOUBLE NOT NULL, 
	scientific_name VARCHAR(255) NOT NULL, 
	common_name VARCHAR(255) NOT NULL, 
	score DOUBLE NOT NULL, 
	probability DOUBLE, 
	in_range BOOLEAN, 
	bundle_id VARCHAR(12) NOT NULL, channel INTEGER, 
	CONSTRAINT fk_detections_identification FOREIGN KEY(identification) REFERENCES identifications (id) ON DELETE CASCADE, 
	CONSTRAINT fk_detections_recording FOREIGN KEY(recording) REFERENCES recordings (sha256) ON DELETE CASCADE
);
INSERT INTO "detections" VALUES(1,1,'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa',0.0,3.0,'Parus major','Great Tit',0.8,NULL,NULL,'0123456789ab',2);
CREATE TABLE identifications (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	recording VARCHAR(64), 
	at DATETIME NOT NULL, 
	bundle_id VARCHAR(12) NOT NULL, 
	duration_s DOUBLE NOT NULL, 
	species VARCHAR(255), 
	score DOUBLE, 
	CONSTRAINT fk_identifications_recording FOREIGN KEY(recording) REFERENCES recordings (sha256) ON DELETE CASCADE
);
INSERT INTO "identifications" VALUES(1,'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa','2026-11-26 07:30:00.000000','0123456789ab',3.0,'Great Tit',0.8);
INSERT INTO "identifications" VALUES(2,NULL,'2026-11-26 07:30:00.000000','0123456789ab',3.0,'Coal Tit',0.6);
CREATE TABLE job_events (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	job VARCHAR(32) NOT NULL, 
	at DATETIME NOT NULL, 
	data JSON NOT NULL, 
	CONSTRAINT fk_job_events_job FOREIGN KEY(job) REFERENCES jobs (id) ON DELETE CASCADE
);
INSERT INTO "job_events" VALUES(1,'33333333333333333333333333333333','2026-11-26 07:30:00.000000','{"status": "running", "stage": "listening", "progress": 0.25, "error": null}');
CREATE TABLE jobs (
	id VARCHAR(32) NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	status VARCHAR(16) NOT NULL, 
	stage VARCHAR(64) NOT NULL, 
	progress DOUBLE NOT NULL, 
	parameters JSON NOT NULL, 
	result JSON, 
	error TEXT, 
	attempts INTEGER NOT NULL, 
	is_cancelled BOOLEAN NOT NULL, 
	owner VARCHAR(64), 
	seen_at DATETIME, 
	created_at DATETIME NOT NULL, 
	started_at DATETIME, 
	ended_at DATETIME, 
	CONSTRAINT pk_jobs PRIMARY KEY (id)
);
INSERT INTO "jobs" VALUES('11111111111111111111111111111111','retrain','done','done',1.0,'{"overrides": ["trainer.epochs=60"], "by_hand": true}','{"bundle_id": "ba9876543210", "is_promoted": false, "is_better": false, "reasons": ["it must know Parus major"], "report": {"n_kept_back": 2, "n_learned_by_active": 1, "average_precision": {"active": 0.5, "new": 0.75}, "species": [{"scientific_name": "Parus major", "common_name": "Great Tit", "n_learned": 6, "n_kept_back": 2, "active_average_precision": null, "new_average_precision": 0.75}], "recordings": [{"name": "tit.wav", "scientific_name": "Parus major", "active_hears": {"species": "Coal Tit", "score": 0.4}, "active_is_right": false, "new_hears": {"species": "Great Tit", "score": 0.9}, "new_is_right": true}]}}',NULL,1,0,'old-server','2026-11-26 07:30:00.000000','2026-11-26 07:30:00.000000','2026-11-26 07:30:00.000000','2026-11-26 07:30:00.000000');
INSERT INTO "jobs" VALUES('22222222222222222222222222222222','retrain','queued','waiting',0.0,'{"overrides": [], "by_hand": true}',NULL,NULL,0,0,NULL,NULL,'2026-11-26 07:30:00.000000',NULL,NULL);
INSERT INTO "jobs" VALUES('33333333333333333333333333333333','identify','running','listening',0.25,'{"sha256": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "name": "dawn.wav", "options": {"channel": "each"}}',NULL,NULL,1,1,'old-server','2026-11-26 07:30:00.000000','2026-11-26 07:30:00.000000','2026-11-26 07:30:00.000000',NULL);
CREATE TABLE lessons (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	sha256 VARCHAR(64) NOT NULL, 
	name VARCHAR(255) NOT NULL, 
	n_bytes BIGINT NOT NULL, 
	duration_s DOUBLE NOT NULL, 
	rate_hz INTEGER NOT NULL, 
	scientific_name VARCHAR(255), 
	common_name VARCHAR(255), 
	absent VARCHAR(255), 
	group_name VARCHAR(255), 
	source VARCHAR(255) NOT NULL, 
	detection INTEGER, 
	added_at DATETIME NOT NULL, 
	CONSTRAINT uq_lessons_detection UNIQUE (detection)
);
INSERT INTO "lessons" VALUES(1,'bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb','dawn.wav 0.0 s',1000,3.0,48000,'Parus major','Great Tit',NULL,'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa','review',1,'2026-11-26 07:30:00.000000');
INSERT INTO "lessons" VALUES(2,'cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc','tit.wav',2000,4.0,48000,'Parus major','Great Tit',NULL,'cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc','upload',NULL,'2026-11-26 07:30:00.000000');
CREATE TABLE models (
	bundle_id VARCHAR(12) NOT NULL, 
	name VARCHAR(255) NOT NULL, 
	family VARCHAR(64) NOT NULL, 
	n_classes INTEGER NOT NULL, 
	place TEXT NOT NULL, 
	origin VARCHAR(16) NOT NULL, 
	job VARCHAR(32), 
	report JSON, 
	added_at DATETIME NOT NULL, 
	CONSTRAINT pk_models PRIMARY KEY (bundle_id)
);
INSERT INTO "models" VALUES('0123456789ab','level','linear',2,'level','given',NULL,NULL,'2026-11-26 07:30:00.000000');
INSERT INTO "models" VALUES('ba9876543210','head','linear',3,'dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd','retrained','11111111111111111111111111111111','{"is_better": false, "reasons": ["it must know Parus major"], "report": {"n_kept_back": 2, "n_learned_by_active": 1, "average_precision": {"active": 0.5, "new": 0.75}, "species": [{"scientific_name": "Parus major", "common_name": "Great Tit", "n_learned": 6, "n_kept_back": 2, "active_average_precision": null, "new_average_precision": 0.75}], "recordings": [{"name": "tit.wav", "scientific_name": "Parus major", "active_hears": {"species": "Coal Tit", "score": 0.4}, "active_is_right": false, "new_hears": {"species": "Great Tit", "score": 0.9}, "new_is_right": true}]}}','2026-11-26 07:30:00.000000');
CREATE TABLE parts (
	group_name VARCHAR(255) NOT NULL, 
	split VARCHAR(16) NOT NULL, 
	CONSTRAINT pk_parts PRIMARY KEY (group_name)
);
INSERT INTO "parts" VALUES('cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc','test');
CREATE TABLE recordings (
	sha256 VARCHAR(64) NOT NULL, 
	name VARCHAR(255) NOT NULL, 
	n_bytes BIGINT NOT NULL, 
	duration_s DOUBLE, 
	rate_hz INTEGER, 
	recorded_at VARCHAR(40), 
	latitude DOUBLE, 
	longitude DOUBLE, 
	added_at DATETIME NOT NULL, 
	CONSTRAINT pk_recordings PRIMARY KEY (sha256)
);
INSERT INTO "recordings" VALUES('aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa','dawn.wav',96044,3.0,16000,'2026-05-01T03:45:00',52.5,13.4,'2026-11-26 07:30:00.000000');
CREATE TABLE reviews (
	detection INTEGER NOT NULL, 
	verdict VARCHAR(8) NOT NULL, 
	scientific_name VARCHAR(255), 
	common_name VARCHAR(255), 
	at DATETIME NOT NULL, 
	CONSTRAINT pk_reviews PRIMARY KEY (detection), 
	CONSTRAINT fk_reviews_detection FOREIGN KEY(detection) REFERENCES detections (id) ON DELETE CASCADE
);
INSERT INTO "reviews" VALUES(1,'right',NULL,NULL,'2026-11-26 07:30:00.000000');
CREATE INDEX ix_jobs_created_at ON jobs (created_at);
CREATE INDEX ix_jobs_kind ON jobs (kind);
CREATE INDEX ix_jobs_status ON jobs (status);
CREATE UNIQUE INDEX uq_jobs_one_retraining ON jobs (kind) WHERE kind = 'retrain' AND status IN ('queued', 'running');
CREATE INDEX ix_lessons_scientific_name ON lessons (scientific_name);
CREATE INDEX ix_lessons_sha256 ON lessons (sha256);
CREATE INDEX ix_recordings_added_at ON recordings (added_at);
CREATE INDEX ix_identifications_at ON identifications (at);
CREATE INDEX ix_identifications_recording ON identifications (recording);
CREATE INDEX ix_identifications_species ON identifications (species);
CREATE INDEX ix_job_events_job ON job_events (job);
CREATE INDEX ix_detections_identification ON detections (identification);
CREATE INDEX ix_detections_recording ON detections (recording);
CREATE INDEX ix_detections_scientific_name ON detections (scientific_name);
CREATE INDEX ix_detections_score ON detections (score);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('identifications',2);
INSERT INTO "sqlite_sequence" VALUES('detections',1);
INSERT INTO "sqlite_sequence" VALUES('lessons',5);
INSERT INTO "sqlite_sequence" VALUES('job_events',1);
COMMIT;
