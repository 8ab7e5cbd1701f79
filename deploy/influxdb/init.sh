#!/bin/sh
# Runs once, at InfluxDB's first start: the second bucket, the InfluxQL names of both, and a token for each reader and writer.
set -eu
influx bucket create --name cellherd_derived --retention 0 >/dev/null
ids=""
for name in cellherd cellherd_derived; do
    id=$(influx bucket list --name "$name" --hide-headers | cut -f1)
    influx v1 dbrp create --db "$name" --rp autogen --bucket-id "$id" --default >/dev/null
    ids="$ids $id"
done
set -- $ids
influx auth create --description ingest --write-bucket "$1" --write-bucket "$2" --json |
    sed -n 's/.*"token": "\(.*\)".*/\1/p' >/tokens/influx_write_token
influx auth create --description grafana --read-bucket "$1" --read-bucket "$2" --json |
    sed -n 's/.*"token": "\(.*\)".*/\1/p' >/tokens/influx_grafana_token
