"""A step worker in Python: customers' points, spent by a saga and refunded when it is undone."""

NAME = "points"
VERSION = "0.1.0"
