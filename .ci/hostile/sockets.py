"""Floods of WebSockets and of TLS."""

FLOODS = []
