"""The tutorial's models, each the natural example of one idea, and small files made from them."""
