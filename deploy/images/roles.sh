#!/bin/sh
# PostgreSQL's image runs this once, as the superuser, in a new database.
set -eu
psql --set=ON_ERROR_STOP=1 --username="$POSTGRES_USER" --dbname="$POSTGRES_DB" \
  --set=owner="$OWNER_PASSWORD" --set=services="$SERVICES_PASSWORD" \
  --set=routers="$ROUTERS_PASSWORD" <<'SQL'
CREATE ROLE waypost LOGIN PASSWORD :'owner';
CREATE ROLE waypost_services LOGIN PASSWORD :'services';
CREATE ROLE waypost_routers LOGIN PASSWORD :'routers';
ALTER DATABASE waypost OWNER TO waypost;
GRANT SET ON PARAMETER waypost.ledger TO waypost;
SQL
