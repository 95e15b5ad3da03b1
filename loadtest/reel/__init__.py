"""What a reel costs, and how exact it is: `python -m resonance.loadtest.reel`."""
