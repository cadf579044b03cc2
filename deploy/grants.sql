-- The least that each database user needs, a statement a line. Run it, with your names, as an administrator
-- when the tables are there. Make each user with SQL too: one made by gcloud or in the console may do everything.

-- The two reports read.
--   CREATE USER hiring_reports@'%' IDENTIFIED BY RANDOM PASSWORD;
GRANT SELECT ON hiring.departments TO hiring_reports@'%';
GRANT SELECT ON hiring.jobs TO hiring_reports@'%';
GRANT SELECT ON hiring.employees TO hiring_reports@'%';

-- The backup reads.
--   CREATE USER hiring_backup@'%' IDENTIFIED BY RANDOM PASSWORD;
GRANT SELECT ON hiring.departments TO hiring_backup@'%';
GRANT SELECT ON hiring.jobs TO hiring_backup@'%';
GRANT SELECT ON hiring.employees TO hiring_backup@'%';

-- The truncation reads, locks, and empties: TRUNCATE asks for DROP. It refuses where another table's rows refer
-- to ours. REFERENCES shows the foreign keys of every database, names and no rows; without it, it refuses too.
--   CREATE USER hiring_truncation@'%' IDENTIFIED BY RANDOM PASSWORD;
GRANT SELECT, DROP ON hiring.departments TO hiring_truncation@'%';
GRANT SELECT, DROP ON hiring.jobs TO hiring_truncation@'%';
GRANT SELECT, DROP ON hiring.employees TO hiring_truncation@'%';
GRANT LOCK TABLES ON hiring.* TO hiring_truncation@'%';
GRANT REFERENCES ON *.* TO hiring_truncation@'%';

-- The backup on Dataproc, if you use it: it holds a read lock for a moment.
--   CREATE USER hiring_jobs@'%' IDENTIFIED BY RANDOM PASSWORD;
GRANT SELECT ON hiring.departments TO hiring_jobs@'%';
GRANT SELECT ON hiring.jobs TO hiring_jobs@'%';
GRANT SELECT ON hiring.employees TO hiring_jobs@'%';
GRANT LOCK TABLES ON hiring.* TO hiring_jobs@'%';

-- The job hiring-operate, if you use it: it restores and imports into the three tables. CREATE makes a missing
-- one, ALTER sets the next id. TRIGGER and REFERENCES show the triggers and foreign keys that it refuses.
--   CREATE USER hiring_operate@'%' IDENTIFIED BY RANDOM PASSWORD;
GRANT SELECT, INSERT, DELETE, CREATE, ALTER, TRIGGER ON hiring.departments TO hiring_operate@'%';
GRANT SELECT, INSERT, DELETE, CREATE, ALTER, TRIGGER ON hiring.jobs TO hiring_operate@'%';
GRANT SELECT, INSERT, DELETE, CREATE, ALTER, TRIGGER ON hiring.employees TO hiring_operate@'%';
GRANT LOCK TABLES ON hiring.* TO hiring_operate@'%';
GRANT REFERENCES ON *.* TO hiring_operate@'%';

-- The job hiring-drill, if you use it: the scratch database alone, which it makes and drops.
--   CREATE USER hiring_drill@'%' IDENTIFIED BY RANDOM PASSWORD;
GRANT SELECT, INSERT, CREATE, ALTER, REFERENCES, DROP, LOCK TABLES ON hiring_drill.* TO hiring_drill@'%';
