"""The table p(s',r|s,a): what it holds, how it is built, kept and unrolled in time."""
