"""What came, on the server's own disk until every store has it; and what nobody could read."""
