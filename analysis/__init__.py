"""From records to tables, statistics and figures for pandas."""
