"""The physics of a serving fleet: prefill queues, decode batches, cold starts, failures."""
