#!/bin/sh
# Brings both of Temporal's databases to the release of the temporal-sql-tool that is on PATH. Safe to repeat.
# Reads SQL_HOST, SQL_PORT, SQL_USER and SQL_PASSWORD; deploy/postgres/init.sql has made login and databases.
set -eu

tool() { temporal-sql-tool --plugin postgres12 --ep "$SQL_HOST" --port "$SQL_PORT" --user "$SQL_USER" "$@"; }

for store in temporal:temporal temporal_visibility:visibility; do
    database=${store%:*}
    # a database that has a version keeps it: set-up would begin again from nothing
    tool --database "$database" setup-schema -v 0.0
    tool --database "$database" update-schema --schema-name "postgresql/v12/${store#*:}"
done
