"""The JSON Schema of the configuration, by which editors complete and check the file."""

from typing import Any

from relay.config.schema import Config


def json_schema() -> dict[str, Any]:
    """JSON Schema, draft 2020-12. An absent key is never written as null, so null is not in it."""
    schema: dict[str, Any] = _without_null(Config.model_json_schema(by_alias=True))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _without_null(part: Any) -> Any:
    if isinstance(part, list):
        return [_without_null(item) for item in part]
    if not isinstance(part, dict):
        return part
    if part.get("default", "") is None:
        del part["default"]
    options = [option for option in part.get("anyOf", []) if option != {"type": "null"}]
    if len(options) == 1:
        part = {**part, **options[0]}
        del part["anyOf"]
    return {key: _without_null(value) for key, value in part.items()}
