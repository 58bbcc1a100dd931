from .source import SourceExchangeRates

__all__ = ["SourceExchangeRates"]
