-- Run once by psql as the superuser, in an empty server: Temporal's login with its two databases, and vertebra's database.
-- vertebra's own roles are made by `vertebra migrate --logins`. The password comes from the environment.
\set ON_ERROR_STOP on
\getenv temporal_password TEMPORAL_DB_PASSWORD
create role temporal login password :'temporal_password';
create database temporal owner temporal;
create database temporal_visibility owner temporal;
create database vertebra;
revoke connect on database temporal, temporal_visibility from public;
