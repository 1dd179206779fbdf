"""Do explanations name the words that a prediction rests on? Measured by taking words away."""
