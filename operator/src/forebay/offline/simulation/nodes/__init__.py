"""Where pods of replicas run: on a plain stock of GPUs, or on nodes that are launched and given back."""
