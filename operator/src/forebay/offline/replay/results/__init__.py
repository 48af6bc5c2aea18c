"""What the outcomes come to: figures, table, verdict."""
