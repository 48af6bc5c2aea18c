"""What a round tells: statuses, conditions, events, and the record that `forebay explain` reads."""
