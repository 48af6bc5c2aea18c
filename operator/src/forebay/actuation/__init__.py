"""Act: change replica counts through `/scale`, and capacity through a provider per node pool."""
