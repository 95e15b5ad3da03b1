"""The gateway's client, and the messages that client and gateway share."""
