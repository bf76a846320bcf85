"""Configuration of the forward proxy: its own TOML, files of http-tunnel, and reloading."""
