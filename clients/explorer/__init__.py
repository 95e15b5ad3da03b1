"""The explorer: a library searched by example in a browser, served on the loopback (docs/explorer.md)."""
