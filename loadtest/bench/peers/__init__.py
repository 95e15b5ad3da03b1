"""The served encoders against other ways to run the same weights: other servers, and libraries in process."""
