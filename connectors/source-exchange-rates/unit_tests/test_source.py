import datetime
import logging

import pytest
from airbyte_cdk.models import SyncMode
from source_exchange_rates import SourceExchangeRates
from source_exchange_rates.source import Rates

URL = "https://rates.example/v1"
CONFIG = {"start_date": "2024-01-01", "base": "USD", "api_url": URL}
LOG = logging.getLogger("test")


def rates(today, state=None, **config):
    stream = Rates({**CONFIG, **config}, today=datetime.date.fromisoformat(today))
    if state:
        stream.state = state
    return stream


def records(stream):
    found = []
    for part in stream.stream_slices():
        found += stream.read_records(sync_mode=SyncMode.incremental, stream_slice=part)
    return found


def test_ranges_cover_every_day_once():
    slices = list(rates("2024-07-10").stream_slices())
    assert slices == [
        {"start": "2024-01-01", "end": "2024-03-30"},
        {"start": "2024-03-31", "end": "2024-06-28"},
        {"start": "2024-06-29", "end": "2024-07-10"},
    ]


def test_a_state_begins_the_day_after_and_may_leave_nothing():
    assert list(rates("2024-01-03", {"date": "2024-01-02"}).stream_slices()) == [
        {"start": "2024-01-03", "end": "2024-01-03"}
    ]
    assert list(rates("2024-01-03", {"date": "2024-01-03"}).stream_slices()) == []


def test_rates_are_records_and_move_the_state(requests_mock):
    days = {"2023-12-29": {"EUR": 0.9}, "2024-01-02": {"EUR": 0.91, "JPY": 142}, "2024-01-03": {"EUR": 0.92}}
    answer = requests_mock.get(f"{URL}/2024-01-01..2024-01-03", json={"rates": days})
    stream = rates("2024-01-03")
    assert records(stream) == [
        {"date": "2024-01-02", "base": "USD", "currency": "EUR", "rate": 0.91},
        {"date": "2024-01-02", "base": "USD", "currency": "JPY", "rate": 142.0},
        {"date": "2024-01-03", "base": "USD", "currency": "EUR", "rate": 0.92},
    ]
    assert answer.last_request.qs == {"base": ["usd"]}
    assert stream.state == {"date": "2024-01-03"}


def test_check_names_the_currencies_that_exist(requests_mock):
    requests_mock.get(f"{URL}/currencies", json={"EUR": "Euro", "USD": "United States Dollar"})
    assert SourceExchangeRates().check_connection(LOG, CONFIG) == (True, None)
    works, reason = SourceExchangeRates().check_connection(LOG, {**CONFIG, "base": "XXX"})
    assert not works and reason == "XXX has no rates; these have: EUR, USD"


@pytest.mark.parametrize("config", [{"start_date": "2024-13-01"}, {"start_date": "soon"}])
def test_check_refuses_days_that_do_not_exist(config):
    works, _ = SourceExchangeRates().check_connection(LOG, {**CONFIG, **config})
    assert not works


def test_check_reports_what_the_service_answers(requests_mock):
    requests_mock.get(f"{URL}/currencies", status_code=404)
    works, reason = SourceExchangeRates().check_connection(LOG, CONFIG)
    assert not works and reason


def test_every_stream_has_a_schema():
    for stream in SourceExchangeRates().streams(CONFIG):
        assert stream.get_json_schema()["properties"]
