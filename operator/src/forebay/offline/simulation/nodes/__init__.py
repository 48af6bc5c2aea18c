"""Where pods of replicas run: on GPUs of a plain stock, or on nodes that come, fill, empty and go."""
