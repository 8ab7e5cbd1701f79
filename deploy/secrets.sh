#!/bin/sh
# Makes what is missing in deploy/secrets: random passwords and tokens, and a TLS key for the broker. Changes nothing
# that is there. Usage: sh deploy/secrets.sh [broker's host name]
set -eu
umask 077
cd "$(dirname "$0")"
host=${1:-$(hostname -f)}
mkdir -p secrets
random() { [ -s "secrets/$1" ] || head -c 33 /dev/urandom | base64 | tr '+/' '-_' >"secrets/$1"; }
for name in influx_password influx_admin_token grafana_password serve_password prefect_password; do random "$name"; done
# InfluxDB fills the next two at its first start; the last two are yours: leave them empty if you use no such channel.
for name in influx_write_token influx_grafana_token telegram_token smtp_password; do touch "secrets/$name"; done
if [ ! -s secrets/s3_config ]; then
    key=$(head -c 33 /dev/urandom | base64 | tr '+/' '-_')
    told='{"identities":[{"name":"cellherd","credentials":[{"accessKey":"cellherd","secretKey":"%s"}],"actions":["Admin"]}]}'
    printf "$told\n" "$key" >secrets/s3_config
    printf 'AWS_ENDPOINT_URL=http://s3:8333\nAWS_ALLOW_HTTP=true\nAWS_REGION=us-east-1\n' >secrets/s3.env
    printf 'AWS_ACCESS_KEY_ID=cellherd\nAWS_SECRET_ACCESS_KEY=%s\n' "$key" >>secrets/s3.env
fi
if [ ! -s secrets/mqtt_key.pem ]; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 -subj "/CN=$host" \
        -addext "subjectAltName=DNS:$host" -keyout secrets/mqtt_key.pem -out secrets/mqtt_cert.pem 2>/dev/null
fi
# Containers read them as uid 1000 (ours, InfluxDB) and 472 (Grafana). The closed folder keeps everybody else out:
# only the Docker daemon can reach through it.
chmod 0700 secrets && chmod 0644 secrets/* && chmod 0666 secrets/influx_write_token secrets/influx_grafana_token
echo "deploy/secrets is ready. Give secrets/mqtt_cert.pem to your edges as ca_file; the broker's name is $host."
