"""Turn pools and dialects into PromQL, and the answers into readings per workload."""
