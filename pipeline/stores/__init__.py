"""Where readings are kept: the archive for analysts, InfluxDB for dashboards."""
