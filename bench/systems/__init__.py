"""Who is measured: one file a program, each starting its processes on free ports."""
