"""What all models of the schema share, and the two kinds of default that they have."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Model(BaseModel):
    """In YAML a key goes by its alias alone; code may use the field's name too."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        arbitrary_types_allowed=True,
        validate_by_name=True,
        validate_by_alias=True,
        hide_input_in_errors=True,
        defer_build=True,  # once, as parts of Config: half a megabyte less
    )


def written(default: object, description: str) -> Any:
    """A field whose default is given as it would be written in the file."""
    return Field(default, validate_default=True, description=description)


def derived_default(default: object, description: str) -> Any:
    """A field whose default follows from other keys, as its description says."""

    def without_default(schema: dict[str, Any]) -> None:
        schema.pop("default", None)

    return Field(default, description=description, json_schema_extra=without_default)
