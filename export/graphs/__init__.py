"""The exported graphs as torch modules: preprocessing, encoder, pooling, projection and unit norm in one."""
