"""Daily reference rates of the European Central Bank, from a Frankfurter service."""

import datetime
from typing import Any, Iterable, Mapping, MutableMapping, Optional

import requests
from airbyte_cdk.sources import AbstractSource
from airbyte_cdk.sources.streams import CheckpointMixin, Stream
from airbyte_cdk.sources.streams.http import HttpStream

DEFAULT_URL = "https://api.frankfurter.dev/v1"
SLICE_DAYS = 90


class FrankfurterStream(HttpStream):
    def __init__(self, config: Mapping[str, Any]):
        super().__init__()
        self.config = config
        self.base = config.get("base", "EUR")

    @property
    def url_base(self) -> str:
        return self.config.get("api_url", DEFAULT_URL).rstrip("/") + "/"

    def next_page_token(self, response: requests.Response) -> Optional[Mapping[str, Any]]:
        return None


class Currencies(FrankfurterStream):
    """The currencies that have rates."""

    primary_key = "code"

    def path(self, **kwargs: Any) -> str:
        return "currencies"

    def parse_response(self, response: requests.Response, **kwargs: Any) -> Iterable[Mapping[str, Any]]:
        for code, name in sorted(response.json().items()):
            yield {"code": code, "name": name}


class Rates(FrankfurterStream, CheckpointMixin):
    """One record for each day and currency; weekends and holidays have none."""

    primary_key = ["date", "base", "currency"]
    cursor_field = "date"

    def __init__(self, config: Mapping[str, Any], today: Optional[datetime.date] = None):
        super().__init__(config)
        self.today = today or datetime.datetime.now(datetime.timezone.utc).date()
        self._state: MutableMapping[str, Any] = {}

    @property
    def state(self) -> MutableMapping[str, Any]:
        return self._state

    @state.setter
    def state(self, value: MutableMapping[str, Any]) -> None:
        self._state = dict(value)

    def stream_slices(self, **kwargs: Any) -> Iterable[Optional[Mapping[str, Any]]]:
        start = datetime.date.fromisoformat(self.config["start_date"])
        if self._state.get(self.cursor_field):
            # The last day of the state is complete: rates are published once a day and never change.
            start = max(start, datetime.date.fromisoformat(self._state[self.cursor_field]) + datetime.timedelta(days=1))
        while start <= self.today:
            end = min(start + datetime.timedelta(days=SLICE_DAYS - 1), self.today)
            yield {"start": start.isoformat(), "end": end.isoformat()}
            start = end + datetime.timedelta(days=1)

    def path(self, *, stream_slice: Optional[Mapping[str, Any]] = None, **kwargs: Any) -> str:
        assert stream_slice is not None
        return f"{stream_slice['start']}..{stream_slice['end']}"

    def request_params(self, **kwargs: Any) -> MutableMapping[str, Any]:
        return {"base": self.base}

    def parse_response(
        self, response: requests.Response, *, stream_slice: Optional[Mapping[str, Any]] = None, **kwargs: Any
    ) -> Iterable[Mapping[str, Any]]:
        for date, rates in sorted(response.json().get("rates", {}).items()):
            # A range that begins on a holiday is answered from the working day before it, which was read already.
            if stream_slice and date < stream_slice["start"]:
                continue
            for currency, rate in sorted(rates.items()):
                yield {"date": date, "base": self.base, "currency": currency, "rate": float(rate)}

    def read_records(self, *args: Any, **kwargs: Any) -> Iterable[Any]:
        for record in super().read_records(*args, **kwargs):
            yield record
            self._state = {self.cursor_field: max(record["date"], self._state.get(self.cursor_field, ""))}


class SourceExchangeRates(AbstractSource):
    def check_connection(self, logger: Any, config: Mapping[str, Any]) -> tuple[bool, Optional[Any]]:
        try:
            datetime.date.fromisoformat(config["start_date"])
            currencies = {record["code"] for record in Currencies(config).read_records(sync_mode=None)}
        except Exception as error:  # whatever the HTTP client raises is the answer to "does it work?"
            return False, str(error)
        base = config.get("base", "EUR")
        if base not in currencies:
            return False, f"{base} has no rates; these have: {', '.join(sorted(currencies))}"
        return True, None

    def streams(self, config: Mapping[str, Any]) -> list[Stream]:
        return [Currencies(config), Rates(config)]
