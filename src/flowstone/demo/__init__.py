"""The demonstration: a pipeline on real data, and the story of its first runs that `flowstone demo` tells."""
