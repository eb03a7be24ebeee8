"""The step worker `__NAME__`: `book`, undone by `cancel_booking`."""

NAME = "__NAME__"
VERSION = "0.1.0"
