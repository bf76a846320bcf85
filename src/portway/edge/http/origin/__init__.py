"""The origin side of the HTTP edge: pooled streams to one tunnel, and how they close."""
