"""The command ``minigte``: its commands, the files they read and write, and runs that are resumed."""
