"""Results of the outcomes: figures, table, verdict."""
