"""From a manifest to jobs, and from jobs to records on disk."""
