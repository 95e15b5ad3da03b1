"""What the vectors are for: search by example, arcs, explanations, taste, reels, the explorer."""
