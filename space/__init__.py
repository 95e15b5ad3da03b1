"""The embedding space: descriptor, blocks, weights, similarity, explanation, arcs. numpy only."""
