"""The programs that play origin and visitors, each in a process of its own, so that their cost is not the system's."""
