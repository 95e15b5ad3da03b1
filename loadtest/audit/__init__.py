"""Measurements of the audits."""
