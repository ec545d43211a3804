"""A local AWS for tests, in which an RDS instance is a real PostgreSQL server.

moto gives the protocol and most of the state; the layers here make true what it only pretends (see README.md).
"""
