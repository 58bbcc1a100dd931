"""Checks a configuration against the part of JSON Schema that connection specifications use."""

import re

TYPES = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "object": dict,
    "array": list,
    "null": type(None),
}


class ConfigError(Exception):
    """A configuration or catalog that the user must change; the text is for them."""


def is_type(value, name):
    if isinstance(value, bool) and name in ("integer", "number"):
        return False
    if isinstance(value, float) and name == "integer":
        return value.is_integer()
    return isinstance(value, TYPES[name])


def problems(value, schema, path="config"):
    """What is wrong with a value, as sentences; keywords that are not known are ignored, as JSON Schema has it."""
    found = []
    types = schema.get("type")
    if types is not None:
        types = [types] if isinstance(types, str) else types
        if not any(is_type(value, name) for name in types):
            return [f"{path} must be of type {' or '.join(types)}"]
    if "const" in schema and value != schema["const"]:
        found.append(f"{path} must be {schema['const']!r}")
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{path} must be one of {', '.join(map(repr, schema['enum']))}")
    if isinstance(value, str):
        if len(value) < schema.get("minLength", 0):
            found.append(f"{path} must have at least {schema['minLength']} characters")
        if "pattern" in schema and not re.search(schema["pattern"], value):
            found.append(f"{path} must match {schema['pattern']}")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if "minimum" in schema and value < schema["minimum"]:
            found.append(f"{path} must be at least {schema['minimum']}")
        if "maximum" in schema and value > schema["maximum"]:
            found.append(f"{path} must be at most {schema['maximum']}")
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        found += [f"{path} needs {name}" for name in schema.get("required", []) if name not in value]
        for name, item in value.items():
            if name in properties:
                found += problems(item, properties[name], f"{path}.{name}")
            elif schema.get("additionalProperties", True) is False:
                found.append(f"{path} has the unknown field {name}")
    if isinstance(value, list) and isinstance(schema.get("items"), dict):
        for index, item in enumerate(value):
            found += problems(item, schema["items"], f"{path}[{index}]")
    return found


def check_config(config, specification):
    """Raises with everything that is wrong, and fills in defaults of the top level."""
    schema = specification["connectionSpecification"]
    found = problems(config, schema)
    if found:
        raise ConfigError("; ".join(found))
    defaults = {n: p["default"] for n, p in schema.get("properties", {}).items() if "default" in p}
    return {**defaults, **config}
