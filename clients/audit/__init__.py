"""What a product or data lead runs before and after a recommender is changed: audits with limits."""
