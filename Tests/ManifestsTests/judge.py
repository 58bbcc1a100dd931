"""Judges decoded documents by the JSON Schemas: one JSON object a line in, one verdict a line out.

usage: judge.py SCHEMAS IN OUT, with IN's lines {"schema": NAME, "document": …}
"""

import json
import pathlib
import sys
import warnings

import jsonschema

# Debian 12 has jsonschema 4.10, which knows no other way; newer ones call it old.
warnings.simplefilter("ignore", DeprecationWarning)

schemas, source, result = sys.argv[1:]
documents = {p.name: json.loads(p.read_text()) for p in sorted(pathlib.Path(schemas).glob("*.schema.json"))}
for document in documents.values():
    jsonschema.Draft202012Validator.check_schema(document)
validators = {
    name.removesuffix(".schema.json"): jsonschema.Draft202012Validator(
        d, resolver=jsonschema.RefResolver(name, d, store=documents)
    )
    for name, d in documents.items()
}
with open(source) as lines, open(result, "w") as verdicts:
    for line in lines:
        case = json.loads(line)
        error = jsonschema.exceptions.best_match(validators[case["schema"]].iter_errors(case["document"]))
        verdicts.write("valid\n" if error is None else "invalid: %s\n" % " ".join(error.message.split())[:200])
