-- The least that the functions' two database users need. Run it as an administrator when the tables
-- are there; put other names in, if yours are others. Make the users first, with SQL too:
--   CREATE USER hiring_reports@'%' IDENTIFIED BY RANDOM PASSWORD;
--   CREATE USER hiring_changes@'%' IDENTIFIED BY RANDOM PASSWORD;
-- (a user made with `gcloud sql users create` or in the console may do everything on MySQL 8).

-- The two reports read.
GRANT SELECT ON hiring.departments TO hiring_reports@'%';
GRANT SELECT ON hiring.jobs TO hiring_reports@'%';
GRANT SELECT ON hiring.employees TO hiring_reports@'%';

-- Backup and truncation read, lock, and empty: TRUNCATE asks for DROP.
GRANT SELECT, DROP ON hiring.departments TO hiring_changes@'%';
GRANT SELECT, DROP ON hiring.jobs TO hiring_changes@'%';
GRANT SELECT, DROP ON hiring.employees TO hiring_changes@'%';
GRANT LOCK TABLES ON hiring.* TO hiring_changes@'%';

-- The truncation refuses where another table's rows refer to ours. A foreign key shows only to a user
-- with some right on its table, in whichever database that is; this right shows names and no rows.
-- Without it, such a table is not seen, and its rows lose what they refer to.
GRANT REFERENCES ON *.* TO hiring_changes@'%';
