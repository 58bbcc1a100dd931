import sys

from airbyte_cdk.entrypoint import launch
from source_exchange_rates import SourceExchangeRates

if __name__ == "__main__":
    launch(SourceExchangeRates(), sys.argv[1:])
