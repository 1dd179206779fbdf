"""The studies' tests use the fixtures of the package's tests."""

# ruff: noqa: F401
from conftest import (
    _own_cache,
    cache,
    encoder_folder,
    mnre_images,
    rukh_data,
    server,
    tiny_model,
    tiny_schema,
    tiny_text,
    tiny_vision,
)
