"""The Kubernetes resources of `forebay.io/v1alpha1`, as pydantic models: schema, validation, reference."""
