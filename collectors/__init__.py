"""The edge: reads batteries on a Raspberry Pi and hands every reading to MQTT, losing none."""
