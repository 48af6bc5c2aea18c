"""What the API server says, kept current: kopf's watches, one small record per object, and their audit."""
