"""The studies behind the claims. Each folder holds its script (`python -m research.<name>`), its
notes (`README.md`) and its small results. The studies import rukh as a user would; rukh imports
none.
"""
