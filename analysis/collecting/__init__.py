"""From records to parquet tables: read what is new, decide what counts, replace tables whole."""
