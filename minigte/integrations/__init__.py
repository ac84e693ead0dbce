"""minigte inside other programs: one module a program, imported by whoever uses that program."""
