"""Users, products and purchases that are made up, and the same each time for the same seed."""

import datetime
import random

from connector_protocol import Source, Stream

from .words import ADJECTIVES, FIRST_NAMES, LAST_NAMES, THINGS

EPOCH = datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc)
STATE_EVERY = 100  # records


def schema(**properties):
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "properties": {name: {"type": kind} if isinstance(kind, str) else kind for name, kind in properties.items()},
    }


TIME = {"type": "string", "format": "date-time", "airbyte_type": "timestamp_with_timezone"}
STREAMS = [
    Stream(
        "users",
        schema(id="integer", first_name="string", last_name="string", email="string", age="integer", created_at=TIME),
        ["id"],
        "id",
    ),
    Stream("products", schema(id="integer", name="string", price="number", created_at=TIME), ["id"]),
    Stream(
        "purchases",
        schema(id="integer", user_id="integer", product_id="integer", quantity="integer", purchased_at=TIME),
        ["id"],
        "id",
    ),
]


def moment(hours):
    return (EPOCH + datetime.timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ")


class SourceFaker(Source):
    specification = {
        "documentationUrl": "https://docs.airbyte.com/integrations/sources/faker",
        "connectionSpecification": {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "title": "Sample Data",
            "type": "object",
            "required": [],
            "additionalProperties": True,
            "properties": {
                "count": {
                    "title": "Count",
                    "description": "How many users to make up.",
                    "type": "integer",
                    "minimum": 1,
                    "maximum": 10_000_000,
                    "default": 1000,
                    "order": 0,
                },
                "seed": {
                    "title": "Seed",
                    "description": "The same seed gives the same records.",
                    "type": "integer",
                    "default": 0,
                    "order": 1,
                },
            },
        },
    }

    def check(self, config):
        next(self.read(config, STREAMS[0], {}, False))

    def streams(self, config):
        return STREAMS

    def read(self, config, stream, state, incremental):
        make = {"users": self.user, "products": self.product, "purchases": self.purchase}[stream.name]
        last = len(THINGS) if stream.name == "products" else config["count"]
        # Another seed makes other records, so a state of the old ones says nothing about them.
        start = int(state.get("id", 0)) if state.get("seed", config["seed"]) == config["seed"] else 0
        number = start
        for number in range(start + 1, last + 1):
            # Each record has a generator of its own: it does not depend on where the reading began.
            yield "record", make(random.Random(f"{config['seed']}/{stream.name}/{number}"), number, config)
            if stream.cursor and number % STATE_EVERY == 0 and number != last:
                yield "state", {"id": number, "seed": config["seed"]}
        if stream.cursor:
            yield "state", {"id": number, "seed": config["seed"]}

    @staticmethod
    def user(choose, number, config):
        first, last = choose.choice(FIRST_NAMES), choose.choice(LAST_NAMES)
        return {
            "id": number,
            "first_name": first,
            "last_name": last,
            "age": choose.randint(18, 90),
            "email": f"{first}.{last}{number}@example.com".lower(),
            "created_at": moment(number),
        }

    @staticmethod
    def product(choose, number, config):
        name = f"{choose.choice(ADJECTIVES)} {THINGS[number - 1]}"
        return {"id": number, "name": name, "price": choose.randint(100, 99_999) / 100, "created_at": moment(number)}

    @staticmethod
    def purchase(choose, number, config):
        return {
            "id": number,
            "user_id": choose.randint(1, config["count"]),
            "product_id": choose.randint(1, len(THINGS)),
            "quantity": choose.randint(1, 5),
            "purchased_at": moment(number + choose.randint(1, 1000)),
        }
