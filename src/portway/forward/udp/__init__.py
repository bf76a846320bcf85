"""Datagrams of SOCKS5: UDP ASSOCIATE."""
