"""flowstone remembers what functions computed, knows when that is still true, and can tell why."""
