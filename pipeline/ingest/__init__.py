"""The intake: from MQTT to a journal on the server's own disk, with receipts to the edges."""
